"""Make MLflow's runs agree with the desired ones: create, add what is missing, never write what is there.

Talks to MLflow. Neighbours: `desired` says what should be there, `project` drives it, `history` adds the curves. Invariant: a second call
with the same records writes nothing. MLflow has no unique keys: of runs with equal tags (two projectors raced) the oldest one is used.
Cost: one search for all runs of an MSMRun, then one write per 100 differences.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from msm.errors import UserError
from msm.tracking.client import Client
from msm.tracking.config import TrackingConfig
from msm.tracking.desired import PARENT, DatasetRecord, RunRecord, Tag

BATCH = 100
"""MLflow's limit on parameters or tags in one write."""
PAGE = 500
_PARENT_TAG = "mlflow.parentRunId"
_CONTEXT_TAG = "mlflow.data.context"
_DELETED = "deleted"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Upserted:
    """A run as MLflow has it now: its id, whether this call made it, and the tags it had before this call."""

    run_id: str
    created: bool
    tags: Mapping[str, str]


def pieces(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Consecutive slices of at most `size` items."""
    return (items[start : start + size] for start in range(0, len(items), size))


def ensure_experiment(client: Client, config: TrackingConfig) -> str:
    """Id of the experiment, made when absent.

    Raises:
        UserError: somebody deleted it; MLflow keeps the name reserved.
    """
    found = client.get_experiment_by_name(config.experiment)
    if found is None:
        location = None if config.artifacts is None else config.artifacts.as_uri()
        return str(client.create_experiment(config.experiment, artifact_location=location))
    if found.lifecycle_stage == _DELETED:
        raise UserError(
            "spec.tracking.experiment",
            f'"{config.experiment}" was deleted in MLflow',
            f"restore it (mlflow experiments restore -x {found.experiment_id}) or name another",
        )
    return str(found.experiment_id)


def find_runs(client: Client, experiment_id: str, uid: str) -> dict[str, Any]:
    """MLflow's runs of an MSMRun by fingerprint (the parent by PARENT); the oldest of each."""
    found: dict[str, Any] = {}
    token = None
    while True:
        page = client.search_runs(
            [experiment_id], f"tags.`{Tag.RUN}` = '{uid}'", max_results=PAGE, order_by=["start_time ASC"], page_token=token
        )
        for run in page:
            found.setdefault(run.data.tags.get(Tag.FINGERPRINT, PARENT), run)
        token = page.token
        if not token:
            return found


def upsert_run(client: Client, experiment_id: str, record: RunRecord, existing: Any, parent_id: str | None, now: int) -> Upserted:
    """Make one MLflow run agree with its record. `now`: milliseconds since 1970, for what has no time of its own."""
    run = existing or _create(client, experiment_id, record, parent_id, now)
    run_id, there = run.info.run_id, run.data
    _write(client, run_id, record, there, now)
    known = {(d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs}
    _add_datasets(client, run_id, [d for d in record.datasets if (d.name, d.digest) not in known])
    _set_status(client, run_id, run.info.status, record, now)
    return Upserted(run_id, existing is None, there.tags)


def _create(client: Client, experiment_id: str, record: RunRecord, parent_id: str | None, now: int) -> Any:
    tags = {**record.tags, **record.first_tags}
    if parent_id is not None:
        tags[_PARENT_TAG] = parent_id
    return client.create_run(experiment_id, start_time=record.started or now, tags=tags, run_name=record.name)


def _write(client: Client, run_id: str, record: RunRecord, there: Any, now: int) -> None:
    """Log what differs. A parameter that is there stays: MLflow refuses to change one, and those of a frozen plan do not change."""
    from mlflow.entities import Metric, Param, RunTag

    time = _total_time(record, there, now)
    params = [Param(k, v) for k, v in record.params.items() if k not in there.params]
    metrics = [Metric(k, v, time, 0) for k, v in record.metrics.items() if there.metrics.get(k) != v]
    tags = [RunTag(k, v) for k, v in record.tags.items() if there.tags.get(k) != v]
    for piece in pieces(params, BATCH):
        client.log_batch(run_id, params=piece, synchronous=True)
    for part in pieces(metrics, BATCH):
        client.log_batch(run_id, metrics=part, synchronous=True)
    if tags:
        client.log_batch(run_id, tags=tags, synchronous=True)


def _total_time(record: RunRecord, there: Any, now: int) -> int:
    """When totals were measured; a value that replaces another must be newer than it, or MLflow would keep showing the old one."""
    replaces = any(key in there.metrics for key in record.metrics)
    return now if replaces or record.ended is None else record.ended


def _add_datasets(client: Client, run_id: str, records: Sequence[DatasetRecord]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(Dataset(r.name, r.digest, r.source_type, r.source, profile=r.profile), [InputTag(_CONTEXT_TAG, r.context)])
        for r in records
    ]
    if inputs:
        client.log_inputs(run_id, datasets=inputs)


def _set_status(client: Client, run_id: str, status: str, record: RunRecord, now: int) -> None:
    if status == record.status:
        return
    if record.status == "RUNNING":
        client.update_run(run_id, status="RUNNING")
    else:
        client.set_terminated(run_id, record.status, end_time=record.ended or now)


def end_abandoned(client: Client, found: Mapping[str, Any], desired: Sequence[RunRecord], now: int) -> None:
    """Close stage runs nobody is at work on when the MSMRun itself has ended: their last attempt died or was stopped."""
    (parent, *_) = desired
    keys = {record.key for record in desired}
    if parent.status == "RUNNING":
        return
    for key, run in found.items():
        if key not in keys and run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "FAILED" if parent.status == "FAILED" else "KILLED", end_time=now)
