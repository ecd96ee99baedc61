"""Whether the queue that a run names is there: without Kueue a job with its label would start past every quota, and nobody would notice.

Neighbours: `children` asks before it starts attempts. Invariant: a cluster that does not let us look counts as one that has it; Kueue
then tells. Cost: one request a start, for runs that name a queue alone.
"""

from collections.abc import Mapping
from typing import Any

from msm.api import MSMRun
from msm_operator.controllers.rooms import Get
from msm_operator.runtime.errors import Forbidden
from msm_operator.runtime.resources import LOCAL_QUEUES
from msm_operator.runtime.seams import Key


async def without_queue(run: MSMRun, namespace: str, get: Get) -> str:
    """What is missing, in a line that names the field and what to do; empty when nothing is."""
    name = run.spec.execution.queue_name
    if name is None or await _is_there(Key(namespace, name), get):
        return ""
    missing = f'spec.execution.queueName: there is no LocalQueue "{name}" in namespace {namespace}'
    return f"{missing}; make it (and install Kueue, if the cluster has none), or delete the run and apply it without queueName"


async def _is_there(key: Key, get: Get) -> bool:
    try:
        found: list[Mapping[str, Any] | None] = [await get(version, key) for version in LOCAL_QUEUES]
    except Forbidden:
        return True
    return any(one is not None for one in found)
