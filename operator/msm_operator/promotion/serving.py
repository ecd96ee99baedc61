"""A unit in the cluster: one vLLM for a base model with adapters as LoRA modules, or for a full model, behind an InferenceService.

Pure. Neighbours: `backends.serving` renders the endpoint that this starts from and says when it really serves; the controller applies.
Invariant: clients ask for the same model name whatever version answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msm.api.inputs import Serve
from msm_operator.backends.installation import Installation
from msm_operator.backends.names import ENDPOINT, RUN, RUN_UID
from msm_operator.backends.serving import PARTS, PORT, Served, bodies
from msm_operator.backends.weights import Weights, arguments
from msm_operator.promotion.names import ARTIFACT, DEPLOYMENT_UID, VARIANT, VERSION, labels, unit_name
from msm_operator.promotion.observed import Unit
from msm_operator.runtime.resources import INFERENCESERVICES, NETWORK_POLICIES, SERVING_RUNTIMES, Resource

SELECTED = "serving.kserve.io/inferenceservice"
"""Label that KServe puts on the pods of an InferenceService."""
FORMAT = "huggingface"
"""Model format asked of a runtime that the user names; it must be a vLLM."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a unit is to be served: pods, GPUs a pod, a runtime of the user's, and whether everybody in the cluster may ask it."""

    replicas: int
    gpus: int
    runtime: str | None
    is_open: bool


def unit_bodies(
    obj: Mapping[str, Any], unit: Unit, artifact: str, weights: Weights, wish: Wish, installation: Installation, store_secret: str | None
) -> list[tuple[Resource, dict[str, Any]]]:
    """Every object of a unit, in the order in which they are made."""
    serve = Serve(model="s3://weights", replicas=wish.replicas, gpus=wish.gpus)
    plain = bodies(obj, Served(f"v{unit.version}-{unit.variant}", serve, weights), installation, store_secret)
    marks = {**labels(obj), VERSION: unit.version, VARIANT: unit.variant}
    found: list[tuple[Resource, dict[str, Any]]] = []
    for resource, body in zip(PARTS, plain, strict=True):
        if resource is SERVING_RUNTIMES and wish.runtime is not None:
            continue
        found.append((resource, _adapted(resource, _marked(body, obj, unit, marks, artifact), weights, wish)))
    return found


def _marked(body: dict[str, Any], obj: Mapping[str, Any], unit: Unit, marks: Mapping[str, str], artifact: str) -> dict[str, Any]:
    """With our labels in place of a run's."""
    before = body["metadata"]
    others = {name: value for name, value in before["labels"].items() if name not in (RUN, RUN_UID, ENDPOINT)}
    annotations = {**before.get("annotations", {}), ARTIFACT: artifact}
    metadata = {**before, "name": unit_name(obj, unit), "labels": {**others, **marks}, "annotations": annotations}
    return {**body, "metadata": metadata}


def _adapted(resource: Resource, body: dict[str, Any], weights: Weights, wish: Wish) -> dict[str, Any]:
    if resource is NETWORK_POLICIES:
        return {**body, "spec": _policy(body, wish)}
    if resource is INFERENCESERVICES:
        return {**body, "spec": {"predictor": _predictor(body["spec"]["predictor"], body["metadata"]["name"], weights, wish)}}
    return body


def _policy(body: Mapping[str, Any], wish: Wish) -> dict[str, Any]:
    """A candidate is reached by its own checks; what serves, by the whole cluster."""
    ports = [{"port": PORT, "protocol": "TCP"}]
    own = {"podSelector": {"matchLabels": {DEPLOYMENT_UID: body["metadata"]["labels"][DEPLOYMENT_UID]}}}
    rule: dict[str, Any] = {"ports": ports} if wish.is_open else {"from": [own], "ports": ports}
    served = {"podSelector": {"matchLabels": {SELECTED: body["metadata"]["name"]}}}
    return {**body["spec"], **served, "ingress": [rule]}


def _predictor(predictor: Mapping[str, Any], name: str, weights: Weights, wish: Wish) -> dict[str, Any]:
    found, model = {**predictor, "serviceAccountName": name}, {**predictor["model"], "runtime": name}
    if wish.runtime is not None:
        model |= {"runtime": wish.runtime, "modelFormat": {"name": FORMAT}, "args": arguments(weights)}
    return {**found, "model": model}


def replicas_of(service: Mapping[str, Any]) -> int | None:
    """How many pods an InferenceService asks for."""
    count = service.get("spec", {}).get("predictor", {}).get("minReplicas")
    return count if isinstance(count, int) else None
