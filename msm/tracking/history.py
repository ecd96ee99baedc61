"""The curves of training: each point once, live while a stage runs and whole when it is committed.

Talks to MLflow. Neighbours: `project` calls it; training artifacts hold `metrics.jsonl` and have `times.jsonl` beside them. Invariant: a
(metric, step) that MLflow has is not written again, whichever attempt measured it first. Cost: of a committed stage one look at what is
there, then one write per 1000 points, then nothing ever again (tag `msm.history`); of a live stage only the new points.
"""

import hashlib
import json
import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from msm.errors import IntegrityError
from msm.store.artifacts import TIMES_FILE
from msm.store.manifest import Manifest
from msm.store.objects import ObjectNotFound, ObjectStore
from msm.tracking.client import Client
from msm.tracking.desired import Tag, fitting, milliseconds
from msm.tracking.runs import Upserted, pieces
from msm.tracking.snapshot import LiveStage, Row

FILE = "metrics.jsonl"
BATCH = 1000
"""MLflow's limit on points in one write."""
_NOT_METRICS = ("step", "time", "totalSteps", "seconds", "tokens")
"""What rows carry beside measurements: where the step stands and what it took."""

Marks = MutableMapping[str, int]
"""Run id -> highest step this process has logged live; forgetting it costs one look at MLflow."""


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one metric at a training step; `time` in milliseconds since 1970."""

    key: str
    step: int
    value: float
    time: int


def points(rows: Sequence[Row], started: int, ended: int) -> list[Point]:
    """The finite numbers of rows, in order; a row without "time" is placed evenly between `started` and `ended` (milliseconds)."""
    found: list[Point] = []
    for i, row in enumerate(rows):
        time = int(row["time"] * 1000) if "time" in row else started + (ended - started) * (i + 1) // len(rows)
        found += (Point(key, int(row["step"]), value, time) for key, value in _measured(row))
    return found


def _measured(row: Row) -> list[tuple[str, float]]:
    numbers = {k: v for k, v in row.items() if k not in _NOT_METRICS and isinstance(v, (int, float)) and not isinstance(v, bool)}
    return [(fitting(key), float(value)) for key, value in numbers.items() if math.isfinite(value)]


def log_live(client: Client, run: Upserted, live: LiveStage, marks: Marks, now: int) -> int:
    """Log the rows after the last step that is there; returns the number of points."""
    if run.run_id not in marks:
        marks[run.run_id] = -1 if run.created else max((s for steps in _known(client, run, live.rows).values() for s in steps), default=-1)
    fresh = [row for row in live.rows if row["step"] > marks[run.run_id]]
    logged = _log(client, run, points(fresh, now, now))
    marks[run.run_id] = max((int(row["step"]) for row in fresh), default=marks[run.run_id])
    return logged


def log_committed(client: Client, run: Upserted, manifest: Manifest, store: ObjectStore) -> int:
    """Log all of a committed artifact's history that is not there yet; returns the number of points.

    Raises:
        IntegrityError: `metrics.jsonl` is not what the manifest says.
    """
    if FILE not in manifest.files or run.tags.get(Tag.HISTORY) == manifest.content_digest:
        return 0
    rows = with_times(read_history(store, manifest.key(FILE), manifest.files[FILE].sha256), read_times(store, manifest.beside(TIMES_FILE)))
    known: Mapping[str, set[int]] = {} if run.created else _known(client, run, rows)
    wanted = points(rows, milliseconds(manifest.started), milliseconds(manifest.ended))
    logged = _log(client, run, [p for p in wanted if p.step not in known.get(p.key, ())])
    client.set_tag(run.run_id, Tag.HISTORY, manifest.content_digest)
    return logged


def with_times(rows: Sequence[Row], times: Mapping[int, Row]) -> list[dict[str, float]]:
    """Rows with what the clock said of their steps."""
    return [{**row, **times.get(int(row["step"]), {})} for row in rows]


def read_times(store: ObjectStore, key: str) -> dict[int, Row]:
    """What `times.jsonl` says of each step; nothing when there is none or it is damaged, since it has no digest and decides nothing."""
    try:
        rows = [json.loads(line) for line in store.get(key).splitlines() if line.strip()]
    except (ObjectNotFound, ValueError):
        return {}
    return {row["step"]: row for row in rows if isinstance(row, dict) and isinstance(row.get("step"), int)}


def read_history(store: ObjectStore, key: str, sha256: str) -> list[dict[str, float]]:
    """Rows of a `metrics.jsonl`, digest verified.

    Raises:
        IntegrityError: other bytes than were committed, or not one JSON object with a step a line.
    """
    data = store.get(key)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityError(f"{key}: the bytes are not those that were committed; restore the store, or delete the artifact and run again")
    try:
        rows = [json.loads(line) for line in data.splitlines() if line.strip()]
    except ValueError as error:
        raise IntegrityError(f"{key}: a line is not JSON ({error})") from error
    if not all(isinstance(row, dict) and isinstance(row.get("step"), int) for row in rows):
        raise IntegrityError(f'{key}: a line is not an object with a whole "step"')
    return rows


def _known(client: Client, run: Upserted, rows: Sequence[Row]) -> dict[str, set[int]]:
    keys = {key for row in rows for key, _ in _measured(row)}
    return {key: {metric.step for metric in client.get_metric_history(run.run_id, key)} for key in sorted(keys)}


def _log(client: Client, run: Upserted, wanted: Sequence[Point]) -> int:
    from mlflow.entities import Metric

    for piece in pieces(wanted, BATCH):
        client.log_batch(run.run_id, metrics=[Metric(p.key, p.value, p.time, p.step) for p in piece], synchronous=True)
    return len(wanted)
