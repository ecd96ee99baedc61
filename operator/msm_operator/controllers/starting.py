"""Why a served model does not serve yet: its pods first, then who refuses it pods, then KServe, which keeps the first two to itself.

Pure. Neighbours: runs ask for their endpoints, EvalDeployments for their versions. Invariant: one line; empty where it is only being made.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from msm_operator.backends.failures import trouble
from msm_operator.backends.serving import why_not
from msm_operator.controllers.advice import advised_of_server
from msm_operator.status.reasons import Reason

Object = Mapping[str, Any]


def why_not_serving(service: Object | None, deployment: Object | None, pods: Iterable[Object], field: str) -> str:
    """Why; `field` is what asks for GPUs."""
    found = trouble(pods) if service is not None else None
    if found is not None:
        return f"{found.reason.value}: {advised_of_server(found, field)}"
    return _without_pods(deployment) or why_not(service)


def labelled(pods: Iterable[Object], labels: Mapping[str, str]) -> list[Object]:
    """Those with all of the labels."""
    return [pod for pod in pods if labels.items() <= pod["metadata"].get("labels", {}).items()]


def _without_pods(deployment: Object | None) -> str:
    """A quota, Pod Security or an admission policy, in the words of who refused."""
    conditions = (deployment or {}).get("status", {}).get("conditions") or ()
    refusals = [c for c in conditions if c.get("type") == "ReplicaFailure" and c.get("status") == "True"]
    return f"{Reason.PODS_MISSING.value}: {refusals[0].get('message', '')}" if refusals else ""
