"""Keeps MLflow up to date while a run goes on, from a thread that the run never waits for.

Neighbours: the local executor hands it a source of snapshots, `project` does the work, `sync` is the same by hand. Invariant: nothing here
raises into the run; a server that hangs delays only this thread, and `stop` returns within its timeout. Cost: MLflow is imported (5 s of
CPU) at the first change that must be shown, never for a run that is shown already.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from msm.clock import Clock
from msm.errors import MSMError, TryAgain
from msm.store.objects import ObjectStore
from msm.tracking import snapshot as snapshots
from msm.tracking.client import Client, mlflow_errors, one_line, open_client
from msm.tracking.config import TrackingConfig
from msm.tracking.marker import is_current, write_marker
from msm.tracking.project import Projection, project
from msm.tracking.snapshot import Snapshot

LONGEST_INTERVAL = 60.0
"""Seconds between attempts at a server that does not answer."""


@dataclass(frozen=True, slots=True)
class TrackingState:
    """How tracking goes: the last success, and since when it fails and why (`failing_since` None: it does not)."""

    projected: datetime | None = None
    failing_since: datetime | None = None
    error: str = ""
    reachable: bool = True
    behind: bool = False
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """One plain sentence when something should be known, else empty."""
        if self.failing_since is not None:
            how = "not updated" if self.reachable else "not reachable"
            return f"MLflow: {how} since {self.failing_since:%H:%M:%S} UTC ({self.error}); `msm track sync` catches up"
        return "MLflow: still writing when the run ended; `msm track sync` catches up" if self.behind else ""


class Projector:
    """One run's thread. `start` once, `stop` once; `state` at any time."""

    def __init__(
        self, source: Callable[[], Snapshot], store: ObjectStore, config: TrackingConfig, clock: Clock, interval: float = 5.0
    ) -> None:
        self._source, self._store, self._config, self._clock, self._interval = source, store, config, clock, interval
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="mlflow-projector", daemon=True)
        self._state = TrackingState()
        self._client: Client | None = None
        self._shown = ""
        self._marks: dict[str, int] = {}

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self, timeout: float) -> TrackingState:
        """Project once more what has changed, for at most `timeout` seconds; then leave the thread to die with the process."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self._thread.is_alive():
            self._state = replace(self._state, behind=True)
        return self._state

    def state(self) -> TrackingState:
        """How tracking goes."""
        return self._state

    def _loop(self) -> None:
        delay = self._interval
        while not self._ending.wait(delay):
            self._attempt(last=False)
            failing = self._state.failing_since is not None
            delay = min(delay * 2, LONGEST_INTERVAL) if failing else self._interval
        self._attempt(last=True)

    def _attempt(self, last: bool) -> None:
        """Project if something changed; an error becomes state."""
        try:
            snapshot = self._source()
            digest = snapshots.digest(snapshot, self._config)
            if self._worth_it(snapshot, digest, last):
                self._succeeded(digest, self._project(snapshot))
                self._remember(snapshot, digest)
        except Exception as error:  # the run must not end because its mirror broke, whatever broke it; state() says so
            self._failed(error)

    def _worth_it(self, snapshot: Snapshot, digest: str, last: bool) -> bool:
        """Something changed, and it is not about to change again: results follow at once when nothing is left to run."""
        if digest == self._shown or (snapshot.settled and snapshot.results is None and not last):
            return False
        return not (snapshot.complete and is_current(self._store, snapshot.uid, digest, self._config))

    def _project(self, snapshot: Snapshot) -> Projection:
        with mlflow_errors(self._config):
            if self._client is None:
                self._client = open_client(self._config, os.environ)
            return project(self._client, snapshot, self._store, self._config, self._clock, self._marks)

    def _remember(self, snapshot: Snapshot, digest: str) -> None:
        if snapshot.complete:
            write_marker(self._store, snapshot.uid, digest, self._config)

    def _succeeded(self, digest: str, projection: Projection) -> None:
        self._shown = digest
        self._state = TrackingState(projected=self._clock.now(), notes=projection.notes)

    def _failed(self, error: Exception) -> None:
        text = str(error) if isinstance(error, MSMError) else one_line(error)
        since = self._state.failing_since or self._clock.now()
        self._state = replace(self._state, failing_since=since, error=text, reachable=not isinstance(error, TryAgain))


def sync(snapshot: Snapshot, store: ObjectStore, config: TrackingConfig, clock: Clock) -> Projection:
    """`msm track sync`: project now and wait for it.

    Raises:
        UserError: MLflow refuses what the run file asks for.
        TryAgain: it does not answer.
    """
    with mlflow_errors(config):
        projection = project(open_client(config, os.environ), snapshot, store, config, clock)
    if snapshot.complete:
        write_marker(store, snapshot.uid, snapshots.digest(snapshot, config), config)
    return projection
