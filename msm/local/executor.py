"""Run a plan's stages on this machine until its models and evaluations are committed.

Neighbours: `msm.plan.decide` decides, `process` starts, the store remembers. Each pass: observe, decide, act, report. Invariant: a stage
runs only when its inputs are committed and nobody else is at work on it; when the caller stops it, every process has ended or been killed
before it returns; a store that does not answer for minutes costs the wait, not the run. Cost: a pass is a few file reads, two a second.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from msm.clock import Clock
from msm.errors import MSMError, TryAgain
from msm.local.process import GRACE_SECONDS, StageProcess
from msm.local.status import Phase, RunStatus, StageStatus, State, initial
from msm.plan import Plan, Stage
from msm.plan.decide import Attempt, Ending, Fail, Start, WaitUntil, blocked, classify, needed, next_attempt, ready
from msm.stages.contract import HEARTBEAT_SECONDS
from msm.store import ObjectStore
from msm.store.artifacts import open_attempt, read_manifest
from msm.store.progress import Follow, Progress, Sighting, decide_ownership, read_progress, sightings, watch

PASS_SECONDS = 0.5
LOOK_SECONDS = 2.0
"""Between two looks at progress files and at what others committed."""
OUTAGE_PATIENCE_SECONDS = 600.0
"""How long a store may stay silent before the run ends as "try again"."""

log = logging.getLogger(__name__)


class Launching(Protocol):
    """What the executor asks of whoever starts processes."""

    def start(self, stage: Stage, number: int, now: datetime) -> StageProcess:
        """Start the stage's `number`-th attempt of this call."""
        ...

    def ended(self, process: StageProcess) -> bool:
        """Whether its process is gone."""
        ...

    def ask_to_stop(self, process: StageProcess, monotonic: float) -> None:
        """Let it checkpoint and exit."""
        ...

    def kill(self, process: StageProcess) -> None:
        """End it now."""
        ...

    def forget(self, process: StageProcess) -> None:
        """Release what it held."""
        ...


class Stop(Enum):
    """Why the loop ends."""

    DONE = "done"
    FAILED = "failed"
    ASKED = "asked"


@dataclass(slots=True)
class StageRecord:
    """What this executor knows of one stage."""

    attempts: list[Attempt] = field(default_factory=list)
    first_start: datetime | None = None
    seconds: float = 0.0
    progress: Progress | None = None
    action: WaitUntil | Fail | None = None
    executed: bool = False


@dataclass(slots=True)
class Executor:
    """One call of `msm run`."""

    uid: str
    plan: Plan
    store: ObjectStore
    launcher: Launching
    clock: Clock
    report: Callable[[RunStatus], None]
    retries: int = 3
    deadline: timedelta = timedelta(hours=48)
    parallelism: int = 1
    stop: threading.Event = field(default_factory=threading.Event)
    committed: set[str] = field(default_factory=set)
    running: dict[str, StageProcess] = field(default_factory=dict)
    following: dict[str, Progress] = field(default_factory=dict)
    watched: dict[str, dict[str, tuple[Sighting, float]]] = field(default_factory=dict)
    looked: float = float("-inf")
    records: dict[str, StageRecord] = field(default_factory=dict)
    silent_since: float | None = None
    _began: tuple[datetime, float] | None = None

    def run(self) -> RunStatus:
        """Run until everything needed is committed, something is given up and nothing else can go on, or `stop` is set."""
        started = self.clock.now()
        self._find_committed(self.plan.stages)
        try:
            while (ending := self._turn(started)) is None:
                self.stop.wait(PASS_SECONDS)
        finally:
            self._end_all()
        phase = {Stop.DONE: Phase.SUCCEEDED, Stop.FAILED: Phase.FAILED, Stop.ASKED: Phase.SUSPENDED}[ending]
        status = self.status(started, phase)
        try:
            self.report(status)
        except TryAgain as error:
            log.warning("the last status is not written: %s", error)
        return status

    def now(self) -> datetime:
        """The hour when this was asked first plus what has passed since: delays must not follow a clock that somebody sets."""
        self._began = self._began or (self.clock.now(), self.clock.monotonic())
        hour, monotonic = self._began
        return hour + timedelta(seconds=self.clock.monotonic() - monotonic)

    def _turn(self, started: datetime) -> Stop | None:
        """A pass and its report. While the store does not answer nothing is decided, and what runs goes on.

        Raises:
            TryAgain: the store has been silent for too long.
        """
        try:
            ending = self._pass()
            if ending is None:
                self.report(self.status(started, Phase.RUNNING))
        except TryAgain as error:
            self._bear(error)
            return Stop.ASKED if self.stop.is_set() else None
        self.silent_since = None
        return ending

    def _bear(self, error: TryAgain) -> None:
        now = self.clock.monotonic()
        if self.silent_since is None:
            self.silent_since = now
            log.warning("%s; waiting for it, stages go on", error)
        elif now - self.silent_since > OUTAGE_PATIENCE_SECONDS:
            raise error

    def _pass(self) -> Stop | None:
        self._reap()
        self._look()
        left = needed(self.plan, self.committed)
        if not left:
            return Stop.DONE
        if self.stop.is_set():
            return Stop.ASKED
        failed = {f for f, r in self.records.items() if isinstance(r.action, Fail)}
        for stage in ready(self.plan, self.committed, set(self.running) | failed):
            if len(self.running) < self.parallelism:
                self._consider(stage)
        stuck = failed and not self.running and {s.fingerprint for s in left} <= failed | blocked(self.plan, failed)
        return Stop.FAILED if stuck else None

    def record(self, stage: Stage) -> StageRecord:
        """What is known of a stage."""
        return self.records.setdefault(stage.fingerprint, StageRecord())

    def _find_committed(self, stages: Iterable[Stage]) -> None:
        """Ask the store which of some stages are committed; a commit that was found is known for good."""
        for stage in stages:
            if stage.fingerprint not in self.committed and read_manifest(self.store, stage.kind, stage.fingerprint) is not None:
                self.committed.add(stage.fingerprint)
                self.following.pop(stage.fingerprint, None)

    def _look(self) -> None:
        """Every few seconds: how far our attempts are, and whether those that we follow have committed."""
        if self.clock.monotonic() - self.looked < LOOK_SECONDS:
            return
        self.looked = self.clock.monotonic()
        self._find_committed(s for s in self.plan.stages if s.fingerprint in self.following)
        for process in self.running.values():
            self._read_progress(process)

    def _read_progress(self, process: StageProcess) -> None:
        """Our attempt's progress, if it has written one; the last beat of an ended attempt has its final numbers."""
        beats = read_progress(self.store, process.stage.kind, process.stage.fingerprint)
        record = self.record(process.stage)
        record.progress = next((p for p in beats if p.attempt == process.attempt), record.progress)

    def _consider(self, stage: Stage) -> None:
        """Start a ready stage, unless it must wait, is given up, or another executor is at work on it."""
        record, now = self.record(stage), self.now()
        foreign = self._foreign_attempt(stage, self.clock.now())
        if foreign is not None:
            self.following[stage.fingerprint] = foreign
            return
        self.following.pop(stage.fingerprint, None)
        action = next_attempt(record.attempts, self.retries, self.deadline, record.first_start, now)
        record.action = None if isinstance(action, Start) else action
        if isinstance(action, Start):
            record.first_start = record.first_start or now
            record.executed = True
            self.running[stage.fingerprint] = self.launcher.start(stage, len(record.attempts) + 1, now)

    def _foreign_attempt(self, stage: Stage, now: datetime) -> Progress | None:
        """The living attempt of another executor at a stage that we do not run, if there is one."""
        others = read_progress(self.store, stage.kind, stage.fingerprint)
        seen = self.watched[stage.fingerprint] = watch(self.watched.get(stage.fingerprint, {}), others, self.clock.monotonic())
        owner = decide_ownership(now, others, HEARTBEAT_SECONDS, sightings(seen))
        return next((p for p in others if isinstance(owner, Follow) and p.attempt == owner.attempt), None)

    def _reap(self) -> None:
        """Turn ended processes into attempts."""
        for fingerprint, process in list(self.running.items()):
            if self.launcher.ended(process):
                self._note_ending(process)
                del self.running[fingerprint]

    def _note_ending(self, process: StageProcess) -> None:
        """Ask the store first: when it does not answer, nothing is noted and the next pass asks again."""
        stage, now = process.stage, self.now()
        record, last = self.record(stage), process.termination
        self._find_committed([stage])
        self._read_progress(process)
        ending = classify(last.exitCode if last else None, stage.fingerprint in self.committed)
        message = last.message if last else "killed without a last word (out of memory?)"
        step = record.progress.step if record.progress else 0
        record.attempts.append(Attempt(ending, now, step, message))
        record.seconds += (now - process.started).total_seconds()
        if ending is not Ending.COMMITTED:
            self._bury(process, record.progress)
        if ending not in (Ending.COMMITTED, Ending.PREEMPTED):
            self._keep_log(process)
        self.launcher.forget(process)

    def _bury(self, process: StageProcess, last: Progress | None) -> None:
        """Say for an attempt that was killed that it beats no more, so that nobody, we included, waits for it."""
        if last is None or last.attempt != process.attempt or last.ended:
            return
        stage = process.stage
        try:
            open_attempt(self.store, stage.kind, stage.fingerprint, process.attempt, self.clock).retire(last)
        except MSMError as error:
            log.warning("a killed attempt is waited for: %s", error)

    def _keep_log(self, process: StageProcess) -> None:
        """Keep a failed attempt's log where `msm logs` finds it."""
        for number, path in enumerate(sorted(process.log.rglob("stderr.log"))):
            name = f"{process.stage.kind}-{process.stage.fingerprint[:12]}-{number}.log"
            try:
                self.store.put(f"runs/{self.uid}/logs/{name}", path.read_bytes())
            except MSMError as error:
                log.warning("the log of a failed attempt is lost: %s", error)

    def _end_all(self) -> None:
        """Ask every process to stop, wait for their grace, kill what is left."""
        for process in self.running.values():
            self.launcher.ask_to_stop(process, self.clock.monotonic())
        until = self.clock.monotonic() + GRACE_SECONDS
        while (left := [p for p in self.running.values() if not self.launcher.ended(p)]) and self.clock.monotonic() < until:
            self.clock.sleep(0.1)
        for process in left:
            self.launcher.kill(process)
        try:
            self._reap()
        except MSMError as error:
            log.warning("how the last attempts ended is not known: %s", error)

    def status(self, started: datetime, phase: Phase) -> RunStatus:
        """What is known now, for people."""
        failed = {f for f, r in self.records.items() if isinstance(r.action, Fail)}
        unreachable = blocked(self.plan, failed)
        wanted = {s.fingerprint for s in needed(self.plan, self.committed)}
        base = initial(self.uid, self.plan, started)
        stages = tuple(
            self._stage_status(stage, shown, wanted, unreachable) for stage, shown in zip(self.plan.stages, base.stages, strict=True)
        )
        message = "; ".join(f"{s.name}: {s.message}" for s in stages if s.state is State.FAILED)
        return base.model_copy(update={"phase": phase, "stages": stages, "updated": self.clock.now(), "message": message})

    def _stage_status(self, stage: Stage, shown: StageStatus, wanted: set[str], unreachable: frozenset[str]) -> StageStatus:
        record = self.record(stage)
        state, message = self._state(stage, record, wanted, unreachable)
        progress = self.following.get(stage.fingerprint) or record.progress
        fields: dict[str, object] = {
            "state": state,
            "message": message,
            "reused": state is State.DONE and not record.executed,
            "seconds": record.seconds + self._since_start(stage),
            "attempts": len(record.attempts) + (stage.fingerprint in self.running),
        }
        if progress is not None:
            fields |= {
                "attempt": progress.attempt,
                "percentage": progress.percentage,
                "step": progress.step,
                "total_steps": progress.total_steps or 0,
                "remaining_seconds": progress.estimated_remaining_seconds,
                "metrics": dict(progress.metrics),
            }
        return shown.model_copy(update=fields)

    def _since_start(self, stage: Stage) -> float:
        process = self.running.get(stage.fingerprint)
        return (self.now() - process.started).total_seconds() if process else 0.0

    def _state(self, stage: Stage, record: StageRecord, wanted: set[str], unreachable: frozenset[str]) -> tuple[State, str]:
        if stage.fingerprint in self.committed:
            return State.DONE, ""
        if stage.fingerprint in self.running:
            return State.RUNNING, ""
        if stage.fingerprint in self.following:
            return State.FOLLOWING, f"attempt {self.following[stage.fingerprint].attempt} of another msm run"
        if isinstance(record.action, Fail):
            return State.FAILED, f"{record.action.reason}: {record.action.message}"
        if isinstance(record.action, WaitUntil):
            return State.WAITING, f"until {record.action.when:%H:%M:%S} after: {record.attempts[-1].message}"
        if stage.fingerprint in unreachable:
            return State.BLOCKED, "needs a stage that was given up"
        return (State.PENDING if stage.fingerprint in wanted else State.NOT_NEEDED), ""
