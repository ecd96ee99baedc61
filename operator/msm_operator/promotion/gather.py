"""What a pass observes of one EvalDeployment, and the rendered things that its decision will need.

Caches first, then one visit to the store in a thread. Neighbours: `controller` asks, `decide` gets the result. Invariant: nothing is
written here but items, once. Cost: reads of caches; of the store a GET for each measurement that is not committed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from msm.api.evaldeployment import EvalDeploymentSpec, Score
from msm.errors import UserError
from msm.plan import Stage
from msm.plan.fingerprint import digest
from msm.store import ObjectStore
from msm.tracking.promotion import AliasVersion
from msm_operator.backends.children import read_child
from msm_operator.backends.serving import is_ready
from msm_operator.controllers.starting import labelled, why_not_serving
from msm_operator.promotion import checks, scores
from msm_operator.promotion.aliases import Answer
from msm_operator.promotion.checks import Asked, Tried
from msm_operator.promotion.names import (
    ARTIFACT,
    DEPLOYMENT_UID,
    GENERATION,
    VARIANT,
    VERSION,
    does_not_fit,
    served_name,
    service_name,
    unit_name,
    variant_of,
)
from msm_operator.promotion.observed import Alias, CheckKey, CheckState, CheckView, Judged, Observed, Unit, UnitView, eval_check
from msm_operator.promotion.rooms import Rooms
from msm_operator.promotion.serving import replicas_of
from msm_operator.promotion.stable import Pointed, read
from msm_operator.promotion.status import refusals
from msm_operator.promotion.versions import Trained, locate
from msm_operator.runtime.seams import Key
from msm_operator.status.conditions import moment
from msm_operator.status.model import FINGERPRINT


@dataclass(slots=True)
class Memory:
    """What is remembered between passes, for speed alone."""

    evals: dict[int, tuple[Asked, ...]] = field(default_factory=dict)
    """Generation -> evals with the identities of their items; the latest only."""
    trained: dict[str, Trained] = field(default_factory=dict)
    rows: tuple[str, list[Score]] = ("", [])


@dataclass(frozen=True, slots=True)
class Gathered:
    """An observation with what it was made from. `trained` by version, `stages` by check, `tried` by the beginning of a fingerprint."""

    seen: Observed
    pointed: Pointed | None
    trained: Mapping[str, Trained] = field(default_factory=dict)
    stages: Mapping[CheckKey, Stage] = field(default_factory=dict)
    tried: Mapping[str, Sequence[Tried]] = field(default_factory=dict)
    rows: Sequence[Score] = ()


def from_caches(obj: Mapping[str, Any], spec: EvalDeploymentSpec, answer: Answer, rooms: Rooms, now: datetime) -> Gathered:
    """What the cluster and MLflow say."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    pointed = read(rooms.caches.addresses.get(Key(metadata["namespace"], service_name(metadata["name"]))), metadata["uid"])
    services = {unit: service for service in rooms.caches.services.owned_by(metadata["uid"]) if (unit := _unit(service)) is not None}
    variant = variant_of(spec.serving)
    tried = status.get("candidateVersion")
    seen = Observed(
        generation=metadata.get("generation", 0),
        variant=variant,
        evals=[measurement.name for measurement in spec.evals],
        compares=any(gate.min_effect is not None for gate in spec.gates),
        alias=Alias(answer.version.version if answer.version is not None else None) if answer.error is None else None,
        candidate=tried if tried is not None and Unit(tried, variant) in services else None,
        stable=pointed.stable if pointed is not None else None,
        units={unit: _view(obj, unit, service, spec, rooms, now) for unit, service in services.items()},
        refused=refusals(status),
        serving=rooms.serving(),
    )
    return Gathered(seen, pointed)


def _unit(service: Mapping[str, Any]) -> Unit | None:
    labels = service["metadata"].get("labels") or {}
    return Unit(labels[VERSION], labels[VARIANT]) if VERSION in labels and VARIANT in labels else None


def _view(
    obj: Mapping[str, Any], unit: Unit, service: Mapping[str, Any], spec: EvalDeploymentSpec, rooms: Rooms, now: datetime
) -> UnitView:
    metadata = service["metadata"]
    workload = rooms.caches.workloads.get(Key(metadata["namespace"], f"{unit_name(obj, unit)}-predictor"))
    ready = is_ready(service, workload)
    return UnitView(
        made=moment(metadata.get("creationTimestamp")) or now,
        ready=ready,
        why="" if ready else _why_not(obj, unit, service, workload, rooms),
        leaving="deletionTimestamp" in metadata,
        stale=unit.variant == variant_of(spec.serving) and replicas_of(service) != spec.serving.replicas,
    )


def _why_not(obj: Mapping[str, Any], unit: Unit, service: Mapping[str, Any], workload: Mapping[str, Any] | None, rooms: Rooms) -> str:
    marks = {DEPLOYMENT_UID: obj["metadata"]["uid"], VERSION: unit.version, VARIANT: unit.variant}
    return why_not_serving(service, workload, labelled(rooms.caches.pods.all(), marks), "spec.serving.gpus")


def artifact_of(obj: Mapping[str, Any], unit: Unit, pointed: Pointed | None, rooms: Rooms) -> str:
    """Which artifact a unit serves, as its InferenceService or the stable Service says; empty where neither does."""
    if pointed is not None and pointed.stable.unit == unit:
        return pointed.artifact
    service = rooms.caches.services.get(Key(obj["metadata"]["namespace"], unit_name(obj, unit)))
    return str((service["metadata"].get("annotations") or {}).get(ARTIFACT, "")) if service is not None else ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which artifact a version is, by MLflow's tags or by our annotations."""

    version: str
    kind: str
    fingerprint: str
    content_digest: str = ""


def wanted_artifacts(obj: Mapping[str, Any], found: Gathered, answer: Answer, rooms: Rooms) -> list[Wanted]:
    """Artifacts of the versions that this pass is about: the one that is tried, the one that is served."""
    seen, wanted = found.seen, []
    if seen.challenger is not None:
        wanted.append(_of_challenger(seen.challenger, artifact_of(obj, seen.challenger, found.pointed, rooms), answer.version))
    if found.pointed is not None and (seen.challenger is None or seen.challenger.version != found.pointed.stable.unit.version):
        wanted.append(_of_annotation(found.pointed.stable.unit.version, found.pointed.artifact))
    return wanted


def _of_challenger(unit: Unit, annotation: str, said: AliasVersion | None) -> Wanted:
    if said is not None and said.version == unit.version:
        return Wanted(unit.version, said.kind, said.fingerprint, said.content_digest)
    return _of_annotation(unit.version, annotation)


def _of_annotation(version: str, annotation: str) -> Wanted:
    kind, _, fingerprint = annotation.partition("/")
    return Wanted(version, kind, fingerprint)


def visit_store(
    obj: Mapping[str, Any],
    spec: EvalDeploymentSpec,
    found: Gathered,
    wanted: Sequence[Wanted],
    evals: Sequence[Asked],
    store: ObjectStore,
    memory: Memory,
    rooms: Rooms,
    now: datetime,
) -> Gathered:
    """The observation with what the store says of it; blocking.

    Raises:
        TryAgain: the store does not answer; IntegrityError: an artifact is damaged.
    """
    name, seen = served_name(spec), found.seen
    trained, unservable = _located(wanted, store, name, memory, seen.challenger)
    if seen.challenger is not None and not unservable:
        unservable = does_not_fit(obj, seen.challenger)
    units = [unit for unit in (seen.challenger, seen.served) if unit is not None and unit.version in trained]
    stages = {
        CheckKey(unit, key): stage for unit in units for key, stage in checks.stages(trained[unit.version], unit, evals, name).items()
    }
    tried = _tried(obj, rooms, now)
    relevant = [key for key in stages if key.unit in (seen.challenger, seen.compared)]
    views = {key: _check(stages[key], tried, seen.generation, store, rooms, now) for key in relevant}
    views |= _incomparable(seen, trained)
    measured = {unit: _measured(unit, evals, stages, store, rooms) for unit in units}
    seen = replace(seen, checks=views, unservable=unservable, judged=_judged(spec, seen, measured, len(evals)))
    return replace(found, seen=seen, trained=trained, stages=stages, tried=tried, rows=_rows(spec, seen, stages, measured, memory))


def _located(
    wanted: Sequence[Wanted], store: ObjectStore, name: str, memory: Memory, challenger: Unit | None
) -> tuple[dict[str, Trained], str]:
    """Trained artifacts by version, and why the challenger's cannot be served; a served one that is gone from the store is left out."""
    found, unservable = {}, ""
    for one in wanted:
        key = f"{store.uri} {one.kind}/{one.fingerprint} {one.content_digest} {name}"
        try:
            if key not in memory.trained:
                memory.trained[key] = locate(store, one.kind, one.fingerprint, one.content_digest, name)
            found[one.version] = memory.trained[key]
        except UserError as error:
            if challenger is not None and challenger.version == one.version:
                unservable = str(error)
    return found, unservable


def short(stage: Stage) -> str:
    """The beginning of a stage's fingerprint, as labels carry it."""
    return stage.fingerprint[:FINGERPRINT]


def _tried(obj: Mapping[str, Any], rooms: Rooms, now: datetime) -> dict[str, list[Tried]]:
    """Every attempt that has an object, by its stage."""
    found: dict[str, list[Tried]] = {}
    for job in rooms.caches.jobs.owned_by(obj["metadata"]["uid"]):
        child = read_child(job, rooms.caches.pods.owned_by(job["metadata"]["uid"]), now)
        if child is not None:
            found.setdefault(child.stage, []).append(Tried(child, int(job["metadata"]["labels"].get(GENERATION, "0"))))
    return found


def _check(
    stage: Stage, tried: Mapping[str, Sequence[Tried]], generation: int, store: ObjectStore, rooms: Rooms, now: datetime
) -> CheckView:
    return checks.view(tried.get(short(stage), ()), rooms.shelf.get(store, stage) is not None, generation, now)


def _incomparable(seen: Observed, trained: Mapping[str, Trained]) -> dict[CheckKey, CheckView]:
    """The served version's checks, where its artifact is gone from the store: nothing can be compared with it."""
    compared = seen.compared
    if compared is None or compared.version in trained:
        return {}
    gone = CheckView(
        CheckState.FAILED, "its artifact is gone from the store; leave minEffect out of the gates to promote without comparing"
    )
    return {CheckKey(compared, eval_check(name)): gone for name in seen.evals}


def _measured(unit: Unit, evals: Sequence[Asked], stages: Mapping[CheckKey, Stage], store: ObjectStore, rooms: Rooms) -> scores.Measured:
    """What is committed of a unit's evals."""
    names = [asked.measurement.name for asked in evals]
    read = {name: rooms.shelf.get(store, stages[CheckKey(unit, eval_check(name))]) for name in names}
    return {name: items for name, items in read.items() if items is not None}


def _judged(spec: EvalDeploymentSpec, seen: Observed, measured: Mapping[Unit, scores.Measured], evals: int) -> Judged | None:
    """What the gates say; None until everything that they may look at is measured."""
    challenger, compared = seen.challenger, seen.compared
    if challenger is None or challenger not in measured or len(measured[challenger]) < evals:
        return None
    theirs = measured.get(compared, {}) if compared is not None else {}
    if compared is not None and len(theirs) < evals:
        return None
    return scores.judge(spec.gates, challenger.version, measured[challenger], compared.version if compared is not None else "", theirs)


def _rows(
    spec: EvalDeploymentSpec, seen: Observed, stages: Mapping[CheckKey, Stage], measured: Mapping[Unit, scores.Measured], memory: Memory
) -> list[Score]:
    """Rows of the status; computed again only when something else was measured, since each is a bootstrap."""
    served, challenger = seen.served, seen.challenger
    mine = measured.get(served, {}) if served is not None else {}
    theirs = measured.get(challenger, {}) if challenger is not None else {}
    used = [[stage.fingerprint for key, stage in stages.items() if key.unit == unit] for unit in (served, challenger)]
    key = digest({"gates": [gate.metric for gate in spec.gates], "used": used, "have": [sorted(mine), sorted(theirs)]})
    if memory.rows[0] != key:
        memory.rows = (key, scores.rows(spec.gates, mine, theirs))
    return memory.rows[1]
