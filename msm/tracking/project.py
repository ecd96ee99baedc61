"""One projection: make MLflow show a snapshot. Idempotent; writes only what differs.

Talks to MLflow. Neighbours: `desired`, `runs`, `history`, `registry` do the parts; `projector` calls it while a run goes on, `sync` by
hand. Invariant: a projection of an unchanged snapshot changes nothing; a projection that broke off half-way is completed by the next.
Order: runs, curves, versions, alias, results.json and the report last, because only the artifact store may need what the client lacks.
"""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from msm.clock import Clock
from msm.errors import IntegrityError
from msm.store.objects import ObjectNotFound, ObjectStore
from msm.tracking import history, registry
from msm.tracking.client import Client, one_line
from msm.tracking.config import TrackingConfig
from msm.tracking.desired import PARENT, RunRecord, Tag, desired_runs, milliseconds
from msm.tracking.reports import show_report
from msm.tracking.runs import Upserted, end_abandoned, ensure_experiment, find_runs, upsert_run
from msm.tracking.snapshot import Snapshot, results_digest

RESULTS_FILE = "results.json"


@dataclass(frozen=True, slots=True)
class Projection:
    """What MLflow shows now, and what of it is new; `notes` are sentences for the user."""

    runs: int
    new_runs: int
    new_points: int
    versions: int
    new_versions: int
    notes: tuple[str, ...] = ()


def project(
    client: Client, snapshot: Snapshot, store: ObjectStore, config: TrackingConfig, clock: Clock, marks: history.Marks | None = None
) -> Projection:
    """Project a snapshot. Whatever MLflow raises comes through: wrap it in `client.mlflow_errors`."""
    now = milliseconds(clock.now())
    records = desired_runs(snapshot, store.uri)
    experiment_id = ensure_experiment(client, config)
    found = find_runs(client, experiment_id, snapshot.uid)
    runs = _upsert_all(client, experiment_id, records, found, now)
    end_abandoned(client, found, records, now)
    points, notes = _log_curves(client, snapshot, store, runs, {} if marks is None else marks, now)
    host = None if config.database is not None else socket.gethostname()
    registered = registry.register(client, snapshot, store.uri, host, runs)
    notes += [registered.note, registry.point_candidate(client, snapshot, registered.versions, runs[PARENT])]
    notes += [_store_results(client, snapshot, runs[PARENT])]
    notes += [show_report(client, snapshot, store, runs[PARENT], registered.versions)]
    new_runs = sum(run.created for run in runs.values())
    return Projection(len(runs), new_runs, points, len(registered.versions), registered.created, tuple(filter(None, notes)))


def _upsert_all(
    client: Client, experiment_id: str, records: tuple[RunRecord, ...], found: Mapping[str, object], now: int
) -> dict[str, Upserted]:
    """The parent first: the others name it."""
    done: dict[str, Upserted] = {}
    for record in records:
        parent = done[PARENT].run_id if record.key != PARENT else None
        done[record.key] = upsert_run(client, experiment_id, record, found.get(record.key), parent, now)
    return done


def _log_curves(
    client: Client, snapshot: Snapshot, store: ObjectStore, runs: Mapping[str, Upserted], marks: history.Marks, now: int
) -> tuple[int, list[str]]:
    logged, notes = 0, []
    for stage in snapshot.used:
        run, manifest = runs[stage.fingerprint], snapshot.committed.get(stage.fingerprint)
        if manifest is None:
            logged += history.log_live(client, run, snapshot.live[stage.fingerprint], marks, now)
            continue
        try:
            logged += history.log_committed(client, run, manifest, store)
        except (IntegrityError, ObjectNotFound) as error:
            notes.append(f"{stage.name}: no curves: {error}")
    return logged, notes


def _store_results(client: Client, snapshot: Snapshot, parent: Upserted) -> str:
    """Keep results.json with the parent run; a store that refuses is a note, for everything in it is also logged as metrics."""
    digest = results_digest(snapshot.results)
    if digest is None or parent.tags.get(Tag.RESULTS) == digest:
        return ""
    try:
        client.log_text(parent.run_id, json.dumps(snapshot.results, indent=1), RESULTS_FILE)
    except Exception as error:  # MLflow's artifact stores raise whatever their client libraries raise; the note says it
        return f"{RESULTS_FILE} could not be stored as an artifact: {one_line(error)}"
    client.set_tag(parent.run_id, Tag.RESULTS, digest)
    return ""
