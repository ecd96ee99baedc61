"""A unit in the cluster: one vLLM for a base model with adapters as LoRA modules, or for a full model, behind an InferenceService.

Pure. Neighbours: `backends.serving` renders the endpoint that this starts from and says when it really serves; the controller applies.
Invariant: clients ask for the same model name whatever version answers; weights are read from the store by KServe's storage initializer,
the base and each adapter into directories of their own below one parent, as KServe demands of several addresses. vLLM compiles for a
largest LoRA rank out of a list and takes 16 where none is stated, so it is always stated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msm.api.inputs import Serve
from msm_operator.backends.installation import Installation
from msm_operator.backends.names import ENDPOINT, RUN, RUN_UID
from msm_operator.backends.serving import PARTS, PORT, Served, bodies
from msm_operator.promotion.names import ARTIFACT, DEPLOYMENT_UID, VARIANT, VERSION, labels, unit_name
from msm_operator.promotion.observed import Unit
from msm_operator.runtime.resources import INFERENCESERVICES, NETWORK_POLICIES, SERVING_RUNTIMES, Resource

MODELS = "/mnt/models"
BASE = f"{MODELS}/base"
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Largest ranks that vLLM can be told."""
SELECTED = "serving.kserve.io/inferenceservice"
"""Label that KServe puts on the pods of an InferenceService."""
FORMAT = "huggingface"
"""Model format asked of a runtime that the user names; it must be a vLLM."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What one server holds: the base (or a full model) by address, and adapters by the name that clients ask for.

    `name` is what clients call the base itself; `rank` the largest of the adapters'.
    """

    base: str
    name: str
    adapters: Mapping[str, str] = field(default_factory=dict)
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """How a unit is to be served: pods, GPUs a pod, a runtime of the user's, and whether everybody in the cluster may ask it."""

    replicas: int
    gpus: int
    runtime: str | None
    is_open: bool


def arguments(weights: Weights) -> list[str]:
    """What vLLM is told of its models."""
    if not weights.adapters:
        return [f"--model={MODELS}", f"--served-model-name={weights.name}"]
    modules = [f"{name}={path}" for name, path in adapter_paths(weights).items()]
    largest = next((rank for rank in RANKS if rank >= weights.rank), RANKS[-1])
    lora = ["--enable-lora", f"--max-lora-rank={largest}", f"--max-loras={len(modules)}", "--lora-modules", *modules]
    return [f"--model={BASE}", f"--served-model-name={weights.name}", *lora]


def adapter_paths(weights: Weights) -> dict[str, str]:
    """Where each adapter lies in the container, by name."""
    return {name: f"{MODELS}/adapters/{number}" for number, name in enumerate(sorted(weights.adapters))}


def storage(weights: Weights) -> list[dict[str, str]]:
    """Where KServe puts what."""
    paths = adapter_paths(weights)
    adapters = [{"uri": weights.adapters[name], "mountPath": path} for name, path in paths.items()]
    return [{"uri": weights.base, "mountPath": BASE}, *adapters]


def unit_bodies(
    obj: Mapping[str, Any], unit: Unit, artifact: str, weights: Weights, wish: Wish, installation: Installation, store_secret: str | None
) -> list[tuple[Resource, dict[str, Any]]]:
    """Every object of a unit, in the order in which they are made."""
    serve = Serve(model="s3://weights", replicas=wish.replicas, gpus=wish.gpus)
    plain = bodies(obj, Served(f"v{unit.version}-{unit.variant}", serve, weights.base), installation, store_secret)
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
    if resource is SERVING_RUNTIMES:
        return {**body, "spec": _runtime(body["spec"], weights)}
    if resource is NETWORK_POLICIES:
        return {**body, "spec": _policy(body, wish)}
    if resource is INFERENCESERVICES:
        return {**body, "spec": {"predictor": _predictor(body["spec"]["predictor"], body["metadata"]["name"], weights, wish)}}
    return body


def _runtime(spec: Mapping[str, Any], weights: Weights) -> dict[str, Any]:
    (container,) = spec["containers"]
    kept = [a for a in container["args"] if not a.startswith(("--model=", "--served-model-name="))]
    return {**spec, "containers": [{**container, "args": [*kept, *arguments(weights)]}]}


def _policy(body: Mapping[str, Any], wish: Wish) -> dict[str, Any]:
    """A candidate is reached by its own checks; what serves, by the whole cluster."""
    ports = [{"port": PORT, "protocol": "TCP"}]
    own = {"podSelector": {"matchLabels": {DEPLOYMENT_UID: body["metadata"]["labels"][DEPLOYMENT_UID]}}}
    rule: dict[str, Any] = {"ports": ports} if wish.is_open else {"from": [own], "ports": ports}
    served = {"podSelector": {"matchLabels": {SELECTED: body["metadata"]["name"]}}}
    return {**body["spec"], **served, "ingress": [rule]}


def _predictor(predictor: Mapping[str, Any], name: str, weights: Weights, wish: Wish) -> dict[str, Any]:
    found, model = {**predictor, "serviceAccountName": name}, {**predictor["model"], "runtime": name}
    if weights.adapters:
        del model["storageUri"]
        found["storageUris"] = storage(weights)
    if wish.runtime is not None:
        model |= {"runtime": wish.runtime, "modelFormat": {"name": FORMAT}, "args": arguments(weights)}
    return {**found, "model": model}


def replicas_of(service: Mapping[str, Any]) -> int | None:
    """How many pods an InferenceService asks for."""
    count = service.get("spec", {}).get("predictor", {}).get("minReplicas")
    return count if isinstance(count, int) else None
