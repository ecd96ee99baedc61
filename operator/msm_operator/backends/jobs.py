"""An attempt as a Kubernetes object: a PyTorchJob where it trains, a batch Job where it does anything else.

Pure: an application, its name and dressing in, a body to apply out. Neighbours: `backend` says what a kind must answer, `pods` makes the
template, `children` reads back. Invariant: one object is one attempt: nothing here is retried, restarted or bounded in time by Kubernetes.
`suspend` is never written, so that Kueue, whose webhook sets it, stays its only owner. One machine is a Master alone; several are Workers
with a c10d rendezvous and no Master, which get no init container from the training operator (that one is refused by Pod Security
`restricted`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from msm.plan import kinds
from msm_operator.backends.backend import Backend
from msm_operator.backends.names import QUEUE
from msm_operator.runtime.resources import JOBS, PYTORCHJOBS, Resource

if TYPE_CHECKING:
    from torchx.specs import AppDef

RENDEZVOUS_PORT = 23456


class BatchJob:
    """A Job of batch/v1 with one pod."""

    resource: Final = JOBS
    ends: Final = ("Complete", "Failed")
    silence: Final = ""

    def spec(self, app: "AppDef", template: Mapping[str, Any]) -> dict[str, Any]:
        """One pod, never repeated."""
        return {"backoffLimit": 0, "completions": 1, "parallelism": 1, "template": dict(template)}

    def is_held(self, obj: Mapping[str, Any]) -> bool:
        """By `spec.suspend`."""
        return bool(obj.get("spec", {}).get("suspend"))


class PyTorchJob:
    """A PyTorchJob of the training operator v1."""

    resource: Final = PYTORCHJOBS
    ends: Final = ("Succeeded", "Failed")
    silence: Final = "the training operator has not taken up the job; is it running, and may it work in this namespace?"

    def spec(self, app: "AppDef", template: Mapping[str, Any]) -> dict[str, Any]:
        """A Master alone, or Workers that meet by c10d."""
        return _pytorch_spec(app, template)

    def is_held(self, obj: Mapping[str, Any]) -> bool:
        """By its run policy."""
        return bool(obj.get("spec", {}).get("runPolicy", {}).get("suspend"))


TRAINING: Final[Backend] = PyTorchJob()
OTHERS: Final[Backend] = BatchJob()
BY_KIND: Final[dict[str, Backend]] = {backend.resource.kind: backend for backend in (TRAINING, OTHERS)}
"""Kind of object -> the backend that reads it back."""


def backend_of(kind: str) -> Backend:
    """What runs attempts at a stage of a kind."""
    return TRAINING if kind in kinds.TRAINING else OTHERS


def resource_of(kind: str) -> Resource:
    """What stands for an attempt at a stage of a kind."""
    return backend_of(kind).resource


def body(app: "AppDef", template: Mapping[str, Any], metadata: Mapping[str, Any], queue: str | None) -> dict[str, Any]:
    """The object of an attempt; `metadata` has name, namespace, labels, annotations and owner."""
    queued = dict(metadata)
    if queue is not None:
        queued["labels"] = {**metadata["labels"], QUEUE: queue}
    backend = backend_of(app.name)
    resource = backend.resource
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": queued, "spec": backend.spec(app, template)}


def _pytorch_spec(app: "AppDef", template: Mapping[str, Any]) -> dict[str, Any]:
    role = app.roles[0]
    nodes, processes = role.num_replicas, max(1, role.resource.gpu)
    replica = {"replicas": nodes, "restartPolicy": "Never", "template": _with_port(template) if nodes > 1 else dict(template)}
    spec: dict[str, Any] = {
        "nprocPerNode": str(processes),
        "runPolicy": {"cleanPodPolicy": "Running"},
        "pytorchReplicaSpecs": {"Worker" if nodes > 1 else "Master": replica},
    }
    if nodes > 1:
        spec["elasticPolicy"] = {
            "minReplicas": nodes,
            "maxReplicas": nodes,
            "rdzvBackend": "c10d",
            "rdzvPort": RENDEZVOUS_PORT,
            "maxRestarts": 0,
        }
    return spec


def _with_port(template: Mapping[str, Any]) -> dict[str, Any]:
    """The port that the first worker's Service is to expose for the rendezvous."""
    first, *others = template["spec"]["containers"]
    ports = [*first.get("ports", []), {"name": "pytorchjob-port", "containerPort": RENDEZVOUS_PORT}]
    return {**template, "spec": {**template["spec"], "containers": [{**first, "ports": ports}, *others]}}
