"""MLflow for all runs of the cluster: one thread that shows what the store has, and what it last had to say of each run.

Neighbours: the controller hands it a run after each transition, `msm.tracking` projects. Invariants: a run never waits for MLflow and
never fails by it; a newer request of a run replaces an older one; a server that does not answer is asked again after a growing pause.
Cost: MLflow is imported at the first projection (5 s of CPU, 150 MB).
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from msm.clock import Clock
from msm.errors import MSMError, TryAgain, UserError
from msm.plan import fingerprint as canonical
from msm.tracking import snapshot as snapshots
from msm.tracking.client import mlflow_errors, one_line, open_client
from msm.tracking.config import TrackingConfig
from msm.tracking.index import read_index
from msm.tracking.marker import is_current, write_marker
from msm.tracking.project import project
from msm.tracking.snapshot import LiveStage, Phase, Snapshot
from msm_operator.controllers.documents import Documents
from msm_operator.runtime.seams import Key
from msm_operator.status.conditions import Wanted
from msm_operator.status.reasons import ConditionType, Reason

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A run to show: its documents, phase and results."""

    documents: Documents
    phase: Phase
    live: Mapping[str, LiveStage]
    results: Mapping[str, object] | None = None
    reused: frozenset[str] = frozenset()
    done: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """What makes two requests of a run the same."""
        points = {f: [live.attempt, [row["step"] for row in live.rows]] for f, live in self.live.items()}
        sets = {"reused": sorted(self.reused), "done": sorted(self.done)}
        return canonical.digest({"phase": self.phase, "live": points, "concluded": self.results is not None, **sets})


@dataclass(slots=True)
class Shown:
    """How showing a run goes: the last request that MLflow shows, and what is wrong."""

    key: str = ""
    error: MSMError | None = None
    failures: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class Tracker:
    """The queue of runs and its thread. `ask` from the loop, the rest in the thread; `wake` is told when something is new to say."""

    clock: Clock
    wake: Callable[[Key], None]
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _asked: "OrderedDict[str, tuple[Asked, TrackingConfig]]" = field(default_factory=OrderedDict)
    _shown: dict[str, Shown] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _clients: dict[str, object] = field(default_factory=dict)
    _marks: dict[str, dict[str, int]] = field(default_factory=dict)
    _ending: bool = False

    def start(self) -> threading.Thread:
        """Begin to work; the thread dies with the process."""
        thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Take no more work."""
        with self._changed:
            self._ending = True
            self._changed.notify()

    def ask(self, asked: Asked, config: TrackingConfig) -> None:
        """Have a run shown, unless it is already."""
        id_ = asked.documents.id
        with self._changed:
            if self._shown.setdefault(id_, Shown()).key == asked.key:
                return
            self._asked[id_] = (asked, config)
            self._changed.notify()

    def condition(self, id_: str) -> Wanted | None:
        """What the run's status is to say; None before the first word."""
        with self._changed:
            shown = self._shown.get(id_)
        if shown is None or (not shown.key and shown.error is None):
            return None
        if shown.error is None:
            return Wanted(ConditionType.TRACKING_AVAILABLE, "True", Reason.REACHABLE)
        reason = Reason.UNREACHABLE if isinstance(shown.error, TryAgain) else Reason.REFUSED
        return Wanted(ConditionType.TRACKING_AVAILABLE, "False", reason, f"{shown.error}; the run goes on, and is shown when it answers")

    def is_shown(self, asked: Asked) -> bool:
        """Whether MLflow shows just this."""
        with self._changed:
            shown = self._shown.get(asked.documents.id)
        return shown is not None and shown.error is None and shown.key == asked.key

    def forget(self, id_: str) -> None:
        """A run that is gone."""
        with self._changed:
            self._asked.pop(id_, None)
            self._shown.pop(id_, None)
            self._marks.pop(id_, None)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._show(*job)

    def _next(self) -> tuple[Asked, TrackingConfig] | None:
        """The longest waiting run whose pause is over; None at the end."""
        with self._changed:
            while not self._ending:
                now = self.clock.monotonic()
                due = next((id_ for id_ in self._asked if self._shown.setdefault(id_, Shown()).not_before <= now), None)
                if due is not None:
                    return self._asked.pop(due)
                self._changed.wait(timeout=1.0 if self._asked else None)
        return None

    def _show(self, asked: Asked, config: TrackingConfig) -> None:
        error: MSMError | None = None
        try:
            self._project(asked, config)
        except (TryAgain, UserError) as refused:
            error = refused
        except Exception as broken:  # MLflow and what it stands on raise anything; the run must not end, and its status says it
            error = MSMError(one_line(broken))
        self._note(asked, config, error)

    def _project(self, asked: Asked, config: TrackingConfig) -> None:
        documents = asked.documents
        results = None if asked.results is None else dict(asked.results)
        base = Snapshot(
            run=documents.run,
            uid=documents.id,
            plan=documents.plan,
            committed={},
            live=asked.live,
            results=results,  # type: ignore[arg-type]
            phase=asked.phase,
            reused=asked.reused,
            report=None if results is None else read_index(documents.store, documents.id),
        )
        snapshot = base.with_committed_of(documents.store)
        digest = snapshots.digest(snapshot, config)
        if snapshot.complete and is_current(documents.store, documents.id, digest, config):
            return
        with mlflow_errors(config):
            client = self._clients.get(config.uri) or self._clients.setdefault(config.uri, open_client(config, self.environ))
            project(client, snapshot, documents.store, config, self.clock, self._marks.setdefault(documents.id, {}))
        if snapshot.complete:
            write_marker(documents.store, documents.id, digest, config)

    def _note(self, asked: Asked, config: TrackingConfig, error: MSMError | None) -> None:
        """Remember how it went; what failed is asked again after a pause, unless something newer of the run waits."""
        id_ = asked.documents.id
        with self._changed:
            before = self._shown.get(id_) or Shown()
            failures = before.failures + 1 if error is not None else 0
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1)) if failures else 0.0
            self._shown[id_] = Shown(asked.key if error is None else before.key, error, failures, self.clock.monotonic() + pause)
            if error is not None:
                self._asked.setdefault(id_, (asked, config))
        changed = (error is None) != (before.error is None) or not before.key
        if changed:
            self.wake(Key(asked.documents.cluster.namespace, asked.documents.cluster.name))
