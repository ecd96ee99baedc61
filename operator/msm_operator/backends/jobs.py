"""An attempt as a Kubernetes object: a PyTorchJob where it trains, a batch Job where it does anything else.

Pure: an application, its name and dressing in, a body to apply out. Neighbours: `pods` makes the template, `children` reads back.
Invariant: one object is one attempt: nothing here is retried, restarted or bounded in time by Kubernetes. `suspend` is never written, so
that Kueue, whose webhook sets it, stays its only owner. One machine is a Master alone; several are Workers with a c10d rendezvous and no
Master, which get no init container from the training operator (that one is refused by Pod Security `restricted`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msm.plan import kinds
from msm_operator.backends.names import QUEUE
from msm_operator.runtime.resources import JOBS, PYTORCHJOBS, Resource

if TYPE_CHECKING:
    from torchx.specs import AppDef

RENDEZVOUS_PORT = 23456


def resource_of(kind: str) -> Resource:
    """What stands for an attempt at a stage of a kind."""
    return PYTORCHJOBS if kind in kinds.TRAINING else JOBS


def body(app: "AppDef", template: Mapping[str, Any], metadata: Mapping[str, Any], queue: str | None) -> dict[str, Any]:
    """The object of an attempt; `metadata` has name, namespace, labels, annotations and owner."""
    queued = dict(metadata)
    if queue is not None:
        queued["labels"] = {**metadata["labels"], QUEUE: queue}
    resource = resource_of(app.name)
    spec = _pytorch_spec(app, template) if resource is PYTORCHJOBS else _job_spec(template)
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": queued, "spec": spec}


def _job_spec(template: Mapping[str, Any]) -> dict[str, Any]:
    return {"backoffLimit": 0, "completions": 1, "parallelism": 1, "template": dict(template)}


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
