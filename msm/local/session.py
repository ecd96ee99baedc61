"""One call of `msm run`: execute an accepted run, keep its records, mirror it to MLflow, compute its results.

Neighbours: `executor` runs the stages, `records` are what is kept, `msm.tracking` mirrors. Invariant: results are written before the call
says that the run succeeded; MLflow that does not answer costs a bounded wait at the end and nothing else.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from msm.clock import Clock
from msm.local.accept import Accepted
from msm.local.executor import Executor, Launching
from msm.local.process import Launcher, sweep
from msm.local.records import load_results, load_status
from msm.local.reporting import publish_report
from msm.local.status import Phase, RunStatus, State
from msm.results.findings import results_of
from msm.results.rows import Results
from msm.results.survey import survey
from msm.store import ObjectStore
from msm.store.artifacts import Manifest
from msm.store.config import VARIABLES
from msm.tracking.config import TrackingConfig, tracking_config
from msm.tracking.index import read_index
from msm.tracking.projector import Projector, TrackingState, sync
from msm.tracking.snapshot import LiveStage, Row, Snapshot

SAVE_SECONDS = 5.0
TRACKING_PATIENCE = 60.0
"""Seconds that the end of a run waits for MLflow."""
HURRIED_PATIENCE = 2.0
"""The same when the call ends by an error or a second Ctrl-C."""
SECRET_VARIABLES = frozenset({VARIABLES["access_key"], VARIABLES["secret_key"], VARIABLES["session_token"]})
"""Inherited by a stage's process, never written into its description."""


@dataclass(slots=True)
class Session:
    """What one call remembers: the latest status and, for MLflow, the points of stages that run."""

    accepted: Accepted
    clock: Clock
    show: Callable[[RunStatus], None]
    earlier: RunStatus | None
    status: RunStatus | None = None
    results: Results | None = None
    note: str = ""
    rows: dict[str, dict[float, Row]] = field(default_factory=dict)
    attempts: dict[str, str] = field(default_factory=dict)
    committed: dict[str, Manifest] = field(default_factory=dict)
    saved: float = float("-inf")

    def report(self, status: RunStatus) -> None:
        """Take the executor's status: show it, note training points, save it now and then."""
        self.status = remember(status, self.earlier)
        self._note_points(self.status)
        self.show(self.status)
        if self.clock.monotonic() - self.saved >= SAVE_SECONDS or status.phase is not Phase.RUNNING:
            self.saved = self.clock.monotonic()
            save(self.accepted.store, self.accepted.uid, "status", self.status)

    def _note_points(self, status: RunStatus) -> None:
        for stage in status.stages:
            if stage.state is State.RUNNING and stage.attempt and "loss" in stage.metrics:
                if self.attempts.get(stage.fingerprint) != stage.attempt:
                    self.attempts[stage.fingerprint], self.rows[stage.fingerprint] = stage.attempt, {}
                self.rows[stage.fingerprint][stage.step] = {"step": stage.step, **stage.metrics, "time": status.updated.timestamp()}

    def snapshot(self) -> Snapshot:
        """What MLflow is to show now; called from the projector's thread."""
        accepted, status = self.accepted, self.status
        stages = status.stages if status is not None else ()
        running = [s.fingerprint for s in stages if s.state is State.RUNNING and s.fingerprint in self.attempts]
        base = Snapshot(
            run=accepted.run,
            uid=accepted.uid,
            plan=accepted.plan,
            committed=self.committed,
            live={f: LiveStage(self.attempts[f], tuple(self.rows[f][step] for step in sorted(self.rows[f]))) for f in running},
            results=None if self.results is None else self.results.model_dump(mode="json", by_alias=True),
            phase="Running" if status is None else status.phase.value,
            reused=frozenset(s.fingerprint for s in stages if s.reused),
            report=None if self.results is None else read_index(accepted.store, accepted.uid),
        )
        found = base.with_committed_of(accepted.store)
        self.committed = dict(found.committed)
        return found


def run_local(accepted: Accepted, show: Callable[[RunStatus], None], stop: threading.Event, clock: Clock) -> RunStatus:
    """Run until everything is committed, something is given up, or `stop` is set. `show` hears of every pass."""
    session = Session(accepted, clock, show, load_status(accepted.store, accepted.uid))
    projector = Projector(session.snapshot, accepted.store, tracking_of(accepted), clock)
    launcher = Launcher(accepted.workspace.scratch, accepted.workspace.cache, _store_environ(accepted))
    projector.start()
    sweep(accepted.workspace.scratch, clock.now().timestamp())
    patience = HURRIED_PATIENCE
    try:
        status = run_stages(session, launcher, stop)
        patience = TRACKING_PATIENCE
    finally:
        launcher.close()
        tracking = projector.stop(patience)
    return _with_notes(session.status or status, session.note, tracking)


def run_stages(session: Session, launcher: Launching, stop: threading.Event) -> RunStatus:
    """Execute the stages with processes of `launcher`; when all are there, compute the results and keep them."""
    status = _executor(session.accepted, launcher, session.clock, session.report, stop).run()
    if status.phase is Phase.SUCCEEDED:
        session.results, session.note = keep_results(session.accepted, session.status or status)
    return status


def _executor(
    accepted: Accepted, launcher: Launching, clock: Clock, report: Callable[[RunStatus], None], stop: threading.Event
) -> Executor:
    execution = accepted.run.spec.execution
    return Executor(
        uid=accepted.uid,
        plan=accepted.plan,
        store=accepted.store,
        launcher=launcher,
        clock=clock,
        report=report,
        retries=execution.retries.limit,
        deadline=timedelta(seconds=execution.deadline),
        parallelism=execution.parallelism,
        stop=stop,
    )


def tracking_of(accepted: Accepted) -> TrackingConfig:
    """Where this run is tracked."""
    return tracking_config(accepted.run, accepted.workspace.root, os.environ)


def _store_environ(accepted: Accepted) -> dict[str, str]:
    config = accepted.workspace.store_config(accepted.run, os.environ)
    return {name: value for name, value in config.to_environ().items() if name not in SECRET_VARIABLES}


def keep_results(accepted: Accepted, status: RunStatus) -> tuple[Results, str]:
    """Compute results and report from the committed artifacts and keep them with the run; says what of it failed, mostly nothing."""
    seen = survey(accepted.run, accepted.plan, accepted.store, accepted.workspace.cache)
    results = results_of(seen, status.rows)
    save(accepted.store, accepted.uid, "results", results)
    return results, publish_report(accepted, seen, status)


def save(store: ObjectStore, uid: str, name: str, value: RunStatus | Results) -> None:
    """Replace one of a run's records."""
    store.put(f"runs/{uid}/{name}.json", value.model_dump_json(by_alias=True, indent=1).encode())


def remember(status: RunStatus, earlier: RunStatus | None) -> RunStatus:
    """A status with what earlier calls of the same run did: their stages are not re-used ones, and keep their seconds."""
    before = {s.fingerprint: s for s in earlier.stages} if earlier is not None else {}
    stages = tuple(
        s.model_copy(update={"seconds": s.seconds + b.seconds, "reused": s.reused and (b.reused or not b.seconds)})
        if (b := before.get(s.fingerprint)) is not None
        else s
        for s in status.stages
    )
    return status.model_copy(update={"stages": stages})


def _with_notes(status: RunStatus, note: str, tracking: TrackingState) -> RunStatus:
    notes = [note, *tracking.notes, tracking.line()]
    return status.model_copy(update={"notes": tuple(filter(None, notes))})


def sync_tracking(accepted: Accepted, clock: Clock) -> str:
    """`msm track sync`: make MLflow show what the store has; says what it shows now.

    Raises:
        UserError, TryAgain: MLflow refuses, or does not answer.
    """
    session = Session(accepted, clock, lambda _: None, None, load_status(accepted.store, accepted.uid))
    session.results = load_results(accepted.store, accepted.uid)
    shown = sync(replace(session.snapshot(), live={}), accepted.store, tracking_of(accepted), clock)
    return f"MLflow shows {shown.runs} runs ({shown.new_runs} new) and {shown.versions} model versions ({shown.new_versions} new)"
