"""The arms of an eval that is asked through an endpoint: one vLLM for the base model, with the trained arms' adapters as LoRA modules.

`weights` reads the store; blocking, for a thread. Neighbours: the planner gives such a stage an endpoint of role `arms`, `children` makes
it as it makes every endpoint, `msm.stages.evaluate` asks it. Invariant: what is served are the very artifacts that the stage's inputs
name; a model's name on the server follows from its fingerprint alone.
"""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from msm.errors import IntegrityError, UserError
from msm.plan import Stage, StageRef
from msm.plan.planner import ARMS
from msm.store import ObjectStore
from msm.store.artifacts import Manifest, read_manifest
from msm.tracking.sources import artifact_uri
from msm_operator.backends.weights import ADAPTER, Weights, rank

BASE_NAME: Final = "base"


def role_of(stage: Stage) -> Mapping[str, JsonValue] | None:
    """The endpoint that serves a stage's arms; None for a stage that has none."""
    endpoints = stage.execution.get("endpoints")
    found = endpoints.get(ARMS) if isinstance(endpoints, dict) else None
    return found if isinstance(found, dict) else None


def model_name(ref: StageRef, base: StageRef) -> str:
    """What the server calls an arm's model; an untrained arm is the base itself."""
    return BASE_NAME if ref == base else f"arm-{ref.fingerprint[:16]}"


def asked(stage: Stage, address: str) -> dict[str, JsonValue]:
    """What the stage program is told: where, and by which name each arm is asked for."""
    (base,) = stage.inputs["model"]
    models: dict[str, JsonValue] = {ref.fingerprint: model_name(ref, base) for ref in stage.inputs["arms"]}
    return {"baseURL": address, "models": models}


def weights(stage: Stage, store: ObjectStore) -> Weights:
    """What the server of a stage's arms holds.

    Raises:
        UserError: an arm was trained in full and has no adapter; IntegrityError: an artifact is gone; TryAgain: the store does not answer.
    """
    (base,) = stage.inputs["model"]
    adapters = {model_name(ref, base): _manifest(store, ref) for ref in stage.inputs["arms"] if ref != base}
    for manifest in adapters.values():
        if ADAPTER not in manifest.files:
            fix = "use training.method: lora, or via: inProcess"
            raise UserError("spec.evals.via", f"{manifest.kind}/{manifest.fingerprint} is no adapter that one server could hold", fix)
    uris = {name: artifact_uri(store.uri, manifest) for name, manifest in adapters.items()}
    return Weights(artifact_uri(store.uri, _manifest(store, base)), BASE_NAME, uris, max(map(rank, adapters.values()), default=0))


def _manifest(store: ObjectStore, ref: StageRef) -> Manifest:
    found = read_manifest(store, ref.kind, ref.fingerprint)
    if found is None:
        raise IntegrityError(f"{ref.kind}/{ref.fingerprint} is not in the store any more; was it deleted by gc?")
    return found
