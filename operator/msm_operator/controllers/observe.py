"""A run's children, endpoints and remembered attempts, read from caches.

Pure over the caches. Neighbours: `msmrun` completes it by what the store says. Invariant: reads nothing but caches, so it costs no request.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from msm_operator.backends.children import POD_LAG, Child, newest, read_child
from msm_operator.backends.names import ENDPOINT, RUN_UID, endpoint_name
from msm_operator.backends.serving import is_ready
from msm_operator.controllers.documents import Documents
from msm_operator.controllers.look import Memory
from msm_operator.controllers.observed import EndpointView, Observed, Policy, served_endpoints, short
from msm_operator.controllers.rooms import Caches, Installed
from msm_operator.controllers.starting import labelled, why_not_serving
from msm_operator.runtime.seams import Key
from msm_operator.status.history import EMPTY
from msm_operator.status.model import histories

MISSING_SECONDS = 10.0
"""How long an attempt's object may be absent from the cache before it counts as deleted."""
KEPT_ATTEMPTS = 2
"""Objects of a stage that are kept, so that the logs of the last failure can be read."""


def observe(
    obj: Mapping[str, Any],
    policy: Policy,
    documents: Documents,
    memory: Memory,
    caches: Caches,
    installed: Installed,
    now: datetime,
    monotonic: float,
) -> Observed:
    """What the caches know of a run."""
    pods_known = installed.pods_for() >= POD_LAG.total_seconds()
    children = list(_children(obj["metadata"]["uid"], caches, now, pods_known))
    newest_ = newest(children)
    observed = Observed(
        plan=documents.plan,
        policy=policy,
        committed=dict(memory.committed),
        children=newest_,
        histories=histories(obj.get("status", {})),
        older=[c for c in children if c.number <= newest_[c.stage].number - KEPT_ATTEMPTS],
        progress=dict(memory.progress),
        endpoints=_endpoints(obj["metadata"]["uid"], documents, caches),
        training=installed.training(),
        serving=installed.serving(),
    )
    return _with_lost(observed, memory, monotonic)


def _children(uid: str, caches: Caches, now: datetime, pods_known: bool) -> Iterator[Child]:
    for cache in (caches.jobs, caches.pytorch_jobs):
        for job in cache.owned_by(uid):
            child = read_child(job, caches.pods.owned_by(job["metadata"]["uid"]), now, pods_known)
            if child is not None:
                yield child


def _with_lost(observed: Observed, memory: Memory, monotonic: float) -> Observed:
    """With the stages whose attempt under way has had no object for a while; the time is our own, since caches lag."""
    absent = {short(s) for s in observed.plan.stages if _is_absent(observed, short(s))}
    memory.missing = {stage: memory.missing.get(stage, monotonic) for stage in absent}
    lost = frozenset(stage for stage, since in memory.missing.items() if monotonic - since >= MISSING_SECONDS)
    return replace(observed, lost=lost)


def _is_absent(observed: Observed, stage: str) -> bool:
    history, child = observed.histories.get(stage, EMPTY), observed.children.get(stage)
    return history.active > history.attempts and (child is None or child.number < history.active)


def _endpoints(uid: str, documents: Documents, caches: Caches) -> dict[str, EndpointView]:
    names = {name for stage in documents.plan.stages for name in served_endpoints(stage)}
    return {name: _endpoint(uid, documents, name, caches) for name in names}


def _endpoint(uid: str, documents: Documents, endpoint: str, caches: Caches) -> EndpointView:
    where = documents.cluster
    name = endpoint_name(where.name, where.uid, endpoint, where.namespace)
    service = caches.services.get(Key(where.namespace, name))
    deployment = caches.deployments.get(Key(where.namespace, f"{name}-predictor"))
    ready = is_ready(service, deployment)
    return EndpointView(service is not None, ready, "" if ready else _why_not(uid, endpoint, service, deployment, caches))


def _why_not(uid: str, endpoint: str, service: Mapping[str, Any] | None, deployment: Mapping[str, Any] | None, caches: Caches) -> str:
    """A look at all pods, while an endpoint is there and does not serve."""
    pods = labelled(caches.pods.all(), {ENDPOINT: endpoint, RUN_UID: uid}) if service is not None else []
    field = f"serve.gpus of endpoint {endpoint}, or serving.evalGpus of the chart for arms"
    return why_not_serving(service, deployment, pods, field)
