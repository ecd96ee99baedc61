"""The measurements of a version as stages of kind evaluate: what is asked through its endpoint, by a Job, into the store.

Pure. Neighbours: `observe` reads the Jobs back, `msm.stages.evaluate` runs them, `scores` reads what they committed. Invariant: a
measurement is a stage with a fingerprint, so it is made once however often the operator restarts, and its scores are what gates are judged
by; the smoke test's fingerprint names the way of serving too, since it is about the pods. The operator talks to no model itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue

from msm.api.run import Measurement
from msm.plan import Stage, StageRef, kinds
from msm.plan.decide import Attempt, Fail, Start, WaitUntil, next_attempt
from msm.plan.fingerprint import fingerprint
from msm.stages.app import app_def
from msm_operator.backends.children import Child, Phase
from msm_operator.backends.installation import Installation
from msm_operator.backends.jobs import body
from msm_operator.backends.names import ATTEMPT, KIND, STAGE, STAGE_NAME, job_name, owner
from msm_operator.backends.pods import Access, Dressing, pod_template, stage_environment
from msm_operator.controllers.attempts import SECRET_VARIABLES
from msm_operator.promotion.names import GENERATION, VERSION, labels
from msm_operator.promotion.observed import SMOKE, CheckKey, CheckState, CheckView, Unit, eval_check
from msm_operator.promotion.versions import Trained
from msm_operator.status.model import FINGERPRINT

FAULTS = 2
"""Faults after which a measurement is given up."""
DEADLINE = timedelta(hours=6)
"""How long a measurement may take, with all its attempts."""
KEEP_SECONDS = 24 * 3600
"""How long the Job of an ended attempt is kept, so that its log can be read."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An eval with the identity of its items, which are kept as a blob."""

    measurement: Measurement
    items: str


def stages(trained: Trained, unit: Unit, evals: Sequence[Asked], served_name: str) -> dict[str, Stage]:
    """A unit's measurements by their names, the address still missing."""
    smoke: dict[str, JsonValue] = {"suite": SMOKE, "via": "endpoint", "serving": unit.variant}
    found = {SMOKE: _stage(f"smoke test of version {unit.version}", trained, smoke, served_name)}
    for asked in evals:
        name = asked.measurement.name
        found[eval_check(name)] = _stage(f"{name} of version {unit.version}", trained, _params(asked), served_name, asked.items)
    return found


def _params(asked: Asked) -> dict[str, JsonValue]:
    measurement = asked.measurement
    limit = measurement.items.limit if measurement.items is not None else None
    return {"suite": measurement.suite, "items": asked.items, "limit": limit, "generate": measurement.generate, "via": "endpoint"}


def _stage(name: str, trained: Trained, params: dict[str, JsonValue], served_name: str, items: str = "") -> Stage:
    kind, version = kinds.EVALUATE, kinds.VERSIONS[kinds.EVALUATE]
    inputs: dict[str, tuple[StageRef, ...]] = {"model": (trained.base,), "arms": (trained.model,)}
    identity = fingerprint(kind, version, params, {role: [ref.fingerprint for ref in refs] for role, refs in inputs.items()})
    return Stage(
        name=name,
        kind=kind,
        version=version,
        fingerprint=identity,
        params=params,
        inputs=inputs,
        blobs=(items.removeprefix("sha256:"),) if items else (),
        execution={"endpoint": {"model": served_name}},
    )


def job(
    obj: Mapping[str, Any],
    key: CheckKey,
    stage: Stage,
    number: int,
    base_url: str,
    store: Mapping[str, str],
    access: Access,
    installation: Installation,
) -> dict[str, Any]:
    """The Job of an attempt at a measurement; `store` is the store's environment, credentials come by `access`."""
    endpoint: dict[str, JsonValue] = {"baseURL": base_url, "model": _model(stage)}
    reached = stage.model_copy(update={"execution": {**stage.execution, "endpoint": endpoint}})
    plain = {name: value for name, value in store.items() if name not in SECRET_VARIABLES}
    environment = stage_environment(plain, access, installation)
    app = app_def(reached, environment, installation.interpreter, installation.image)
    metadata = obj["metadata"]
    marks = {
        **labels(obj),
        STAGE: stage.fingerprint[:FINGERPRINT],
        KIND: stage.kind,
        ATTEMPT: str(number),
        VERSION: key.unit.version,
        GENERATION: str(metadata.get("generation", 0)),
    }
    template = pod_template(app, Dressing(marks, {STAGE_NAME: stage.name}, access), installation)
    made = {
        "name": job_name(metadata["name"], metadata["uid"], stage.name, stage.fingerprint, number),
        "namespace": metadata["namespace"],
        "labels": marks,
        "annotations": {STAGE_NAME: stage.name},
        "ownerReferences": [owner(obj)],
    }
    found = body(app, template, made, None)
    return {**found, "spec": {**found["spec"], "ttlSecondsAfterFinished": KEEP_SECONDS}}


def _model(stage: Stage) -> JsonValue:
    endpoint = stage.execution["endpoint"]
    assert isinstance(endpoint, dict), "stages() put it there"
    return endpoint["model"]


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt at a measurement, and the generation of the spec that asked for it."""

    child: Child
    generation: int


def view(tried: Sequence[Tried], committed: bool, generation: int, now: datetime) -> CheckView:
    """How far a measurement is. Failures of an earlier spec do not count; what runs does, whoever asked for it."""
    if committed:
        return CheckView(CheckState.COMMITTED)
    newest = max(tried, key=lambda one: one.child.number, default=None)
    mine = [one.child for one in sorted(tried, key=lambda one: one.child.number) if one.generation == generation]
    if newest is not None and newest.child.ended is None:
        return _under_way(newest.child, now)
    ended = [child.ended for child in mine if child.ended is not None]
    attempts = [Attempt(end.ending, end.when, number, end.message) for number, end in enumerate(ended)]
    began = mine[0].made if mine else None
    match next_attempt(attempts, FAULTS, DEADLINE, began, now):
        case Start():
            return CheckView(CheckState.ABSENT)
        case WaitUntil(when):
            return CheckView(CheckState.WAITING, ended[-1].message, when)
        case Fail(reason, message):
            return CheckView(CheckState.FAILED, f"{reason}: {message}")


def _under_way(child: Child, now: datetime) -> CheckView:
    if now - child.made > DEADLINE:
        return CheckView(CheckState.FAILED, f"DeadlineExceeded: attempt {child.number} has no end after {DEADLINE}")
    said = f"({child.trouble.reason.value}: {child.trouble.message})" if child.trouble is not None else ""
    return CheckView(CheckState.RUNNING, said if child.phase is not Phase.RUNNING else "")


def next_number(tried: Sequence[Tried]) -> int:
    """Number of the next attempt; a Job that is gone leaves a gap that does not matter."""
    return 1 + max((one.child.number for one in tried), default=0)
