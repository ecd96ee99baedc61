"""What MLflow should show for a snapshot: runs, their parameters, tags, totals and datasets, as plain values.

Pure and free of MLflow. Neighbours: `snapshot` is the input, `runs` makes MLflow agree with the output. Invariant: the same snapshot gives
the same records, so a projection compares and writes only what differs. Texts are cut to MLflow's limits here.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from msm.plan import Stage, kinds
from msm.store.manifest import Manifest
from msm.tracking.snapshot import Snapshot
from msm.tracking.sources import artifact_uri, blob_uri, dataset_source

MAX_KEY = 250
"""MLflow's limit on a name of a metric, parameter or tag."""
MAX_PARAM = 6000
"""MLflow's limit on a parameter's value."""
DIGEST_LENGTH = 36
"""MLflow's limit on a dataset's digest."""
PARENT = ""
"""Key of the parent run where stage runs have their fingerprint."""

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
STATUS: Mapping[str, Status] = {"Running": "RUNNING", "Succeeded": "FINISHED", "Failed": "FAILED", "Suspended": "KILLED"}


class Tag:
    """Tags by which a projection finds its own; API: saved searches of users depend on them."""

    RUN = "msm.run"
    FINGERPRINT = "msm.fingerprint"
    ATTEMPT = "msm.attempt"
    KIND = "msm.kind"
    PLAN = "msm.plan"
    REUSED = "msm.reused"
    CONTENT = "msm.content_digest"
    ARMS = "msm.arms"
    SEED = "msm.seed"
    BASE = "msm.base_model"
    PRECISION = "msm.precision"
    PARENT_VERSION = "msm.parent_version"
    HISTORY = "msm.history"
    """Content digest whose metric history is completely logged."""
    RESULTS = "msm.results"
    """Digest of the results.json that is stored with the run."""
    REPORT = "msm.report"
    """Digest of the report that is stored with the run."""
    CANDIDATE = "msm.candidate"
    """Version to which this run has moved the alias, once."""


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """A dataset a run read: `source` and `profile` are JSON texts as MLflow stores them; `context` is training or evaluation."""

    name: str
    digest: str
    source_type: str
    source: str
    profile: str
    context: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One MLflow run: the parent or a stage. Times are milliseconds since 1970, None where not known yet.

    `first_tags` are written when the run is made and left alone after: a later call that finds its own stages finished did not re-use them.
    """

    key: str
    name: str
    status: Status
    tags: Mapping[str, str]
    params: Mapping[str, str]
    first_tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    datasets: tuple[DatasetRecord, ...] = ()
    started: int | None = None
    ended: int | None = None


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return int(moment.timestamp() * 1000)


def fitting(name: str) -> str:
    """A name MLflow accepts; one that it would refuse is cleaned and ends in a digest of itself, so that no two become one."""
    clean = re.sub(r"[^\w.\- :]", "_", name)
    if clean == name and len(name) <= MAX_KEY:
        return name
    return f"{clean[: MAX_KEY - 9]}.{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def flatten(params: Mapping[str, JsonValue], prefix: str = "") -> dict[str, str]:
    """Nested parameters as dotted names with text values; null and empty values are left out."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        elif value not in (None, "", []):
            flat[fitting(prefix + key)] = _text(value)
    return flat


def _text(value: JsonValue) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_PARAM else text[: MAX_PARAM - 1] + "…"


def desired_runs(snapshot: Snapshot, store_uri: str) -> tuple[RunRecord, ...]:
    """The parent, then a run for each stage that is committed or being worked on, in plan order."""
    return (parent_record(snapshot), *(stage_record(snapshot, stage, store_uri) for stage in snapshot.used))


def parent_record(snapshot: Snapshot) -> RunRecord:
    """The run as a whole: what was asked for, and the effects that were found."""
    spec, resolution = snapshot.run.spec, snapshot.plan.resolution
    specs = {f"modelSpec.{s.name}": resolution.identity(f"modelSpecs.{s.name}") for s in spec.model_specs if _resolved(snapshot, s.name)}
    params: dict[str, JsonValue] = {
        "baseModel": resolution.identity("baseModel"),
        "arms": [arm.name for arm in spec.arms],
        "seeds": list(spec.seeds),
        "method": spec.training.method,
        "precision": resolution.precision,
        **specs,
    }
    own = [m for f, m in snapshot.committed.items() if f not in snapshot.reused]
    tags = {Tag.RUN: snapshot.uid, Tag.KIND: "run", Tag.PLAN: snapshot.plan.digest}
    return RunRecord(
        key=PARENT,
        name=snapshot.run.metadata.name,
        status=STATUS[snapshot.outcome],
        tags=tags,
        params=flatten(params),
        metrics=effect_metrics(snapshot.results),
        started=min((milliseconds(m.started) for m in own), default=None),
        ended=max((milliseconds(m.ended) for m in own), default=None),
    )


def _resolved(snapshot: Snapshot, spec_name: str) -> bool:
    return f"modelSpecs.{spec_name}" in snapshot.plan.resolution.inputs


def effect_metrics(results: Mapping[str, JsonValue] | None) -> dict[str, float]:
    """`effect.<metric>.<arm>.vs.<versus>` and its `.low` and `.high`; a bound that is not a finite number is left out."""
    effects = results.get("effects") if results is not None else None
    metrics: dict[str, float] = {}
    for effect in effects if isinstance(effects, list) else []:
        if isinstance(effect, dict):
            name = f"effect.{effect.get('metric')}.{effect.get('arm')}.vs.{effect.get('versus')}"
            named = {name: effect.get("estimate"), f"{name}.low": effect.get("low"), f"{name}.high": effect.get("high")}
            metrics |= finite(named)
    return metrics


def finite(values: Mapping[str, object]) -> dict[str, float]:
    """The entries that are finite numbers, under names MLflow accepts."""
    numbers = {k: float(v) for k, v in values.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return {fitting(k): v for k, v in numbers.items() if math.isfinite(v)}


def stage_record(snapshot: Snapshot, stage: Stage, store_uri: str) -> RunRecord:
    """One stage: from its manifest when it is committed, else from the attempt at work on it."""
    manifest = snapshot.committed.get(stage.fingerprint)
    tags = {Tag.RUN: snapshot.uid, Tag.FINGERPRINT: stage.fingerprint, Tag.KIND: stage.kind, **_arm_tags(snapshot, stage)}
    params = {**flatten(stage.params), "kindVersion": str(stage.version)}
    if manifest is None:
        tags[Tag.ATTEMPT] = snapshot.live[stage.fingerprint].attempt
        return RunRecord(stage.fingerprint, stage.name, STATUS[snapshot.phase], tags, params)
    tags |= {Tag.ATTEMPT: manifest.attempt, Tag.CONTENT: manifest.content_digest}
    return RunRecord(
        key=stage.fingerprint,
        name=stage.name,
        status="FINISHED",
        tags=tags,
        params=params,
        first_tags={Tag.REUSED: "true"} if stage.fingerprint in snapshot.reused else {},
        metrics=finite({f"artifact.{name}": value for name, value in manifest.metrics.items()}),
        datasets=tuple(_datasets(snapshot, stage, store_uri)),
        started=milliseconds(manifest.started),
        ended=milliseconds(manifest.ended),
    )


def _arm_tags(snapshot: Snapshot, stage: Stage) -> dict[str, str]:
    arms = arms_of(snapshot, stage)
    return {Tag.ARMS: ",".join(arms)} if arms else {}


def arms_of(snapshot: Snapshot, stage: Stage) -> tuple[str, ...]:
    """Names of the arms whose model this training stage is or precedes; empty for other stages."""
    if stage.kind not in kinds.TRAINING:
        return ()
    here = stage.fingerprint
    return tuple(sorted({m.arm for m in snapshot.plan.models if here in (m.model.fingerprint, m.parent and m.parent.fingerprint)}))


def _datasets(snapshot: Snapshot, stage: Stage, store_uri: str) -> Iterator[DatasetRecord]:
    if stage.kind in kinds.TRAINING:
        for ref in stage.inputs.get("data", ()):
            manifest = snapshot.committed.get(ref.fingerprint)
            if manifest is not None:
                yield _rows_dataset(snapshot.plan.stage(ref), manifest, store_uri)
    if stage.kind == kinds.EVALUATE:
        yield _items_dataset(snapshot, stage, store_uri)


def _rows_dataset(stage: Stage, manifest: Manifest, store_uri: str) -> DatasetRecord:
    """Rows that were trained on, named after the corpus or demonstration."""
    uri = artifact_uri(store_uri, manifest)
    source_type, source = dataset_source(f"{uri}/rows.jsonl" if "rows.jsonl" in manifest.files else uri)
    profile = json.dumps(finite(manifest.metrics), sort_keys=True)
    name = stage.name.partition(" ")[2] or stage.name
    return DatasetRecord(name, manifest.content_digest[:DIGEST_LENGTH], source_type, source, profile, "training")


def _items_dataset(snapshot: Snapshot, stage: Stage, store_uri: str) -> DatasetRecord:
    """The questions of an evaluation, named after the eval."""
    identity = str(stage.params.get("items"))
    evals = [name for name, refs in snapshot.plan.evaluations.items() if stage.fingerprint in {ref.fingerprint for _, ref in refs}]
    digest = identity.removeprefix("sha256:")
    source_type, source = dataset_source(blob_uri(store_uri, digest) if identity.startswith("sha256:") else identity)
    return DatasetRecord(f"{evals[0]} items", digest[:DIGEST_LENGTH], source_type, source, "{}", "evaluation")
