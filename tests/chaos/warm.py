"""`msm run` in one warm process: the real acceptance, executor, session and stage programs, on a store that fails when it is told to.

What differs from a real call: stages run where the launcher stands instead of in processes, time passes when somebody sleeps, and MLflow is
left out. `World` is a place with a store; `World.call` is one `msm run` in it, of which every operation can be made to fail.
"""

import os
import random
import shutil
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

from msm.clock import SystemClock
from msm.errors import MSMError
from msm.local.accept import Accepted, accept
from msm.local.process import StageProcess
from msm.local.records import load_status
from msm.local.session import Session, run_stages
from msm.local.status import Phase, RunStatus
from msm.plan import Stage
from msm.stages import contract
from msm.stages.program import attempt_stage, explained
from msm.store import ObjectStore, StoreConfig, open_store
from msm.store.files import INCOMING
from msm.train.job import TrainJob
from msm.train.outcome import TrainOutcome
from tests.chaos.faulty import Fault, FaultyStore, Ledger, Machine, PowerCut, Process
from tests.chaos.trainers import alone, counting_training

GRACE = 60.0


class WarmClock(SystemClock):
    """Real time plus what was slept; the hour may be set, the monotonic second never goes back."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.began, self.slept, self.shift = SystemClock().monotonic(), 0.0, start

    def now(self) -> datetime:
        return self.shift + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return SystemClock().monotonic() - self.began + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def set_back(self, seconds: float) -> None:
        """What a person or NTP does to a clock."""
        self.shift -= timedelta(seconds=seconds)


class Stop(threading.Event):
    """Waiting for it takes no real time."""

    def __init__(self, clock: WarmClock) -> None:
        super().__init__()
        self.clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.sleep(timeout or 0.0)
        return self.is_set()


@dataclass(slots=True)
class WarmLauncher:
    """Runs an attempt to its end where a real launcher would start a process."""

    world: "World"
    machine: Machine
    scratch: Path
    cache: Path

    def start(self, stage: Stage, number: int, now: datetime) -> StageProcess:
        process, scratch = Process(f"{stage.kind} {next(self.world.numbers)}"), self.scratch / f"{next(self.world.numbers)}.warm"
        scratch.mkdir(parents=True)
        environ = {contract.SCRATCH: str(scratch), contract.CACHE: str(self.cache)}
        try:
            self._live(stage, process, scratch, environ)
        except PowerCut:
            if self.machine.off:
                raise
        return StageProcess(stage, now, "", scratch, scratch, -1)

    def _live(self, stage: Stage, process: Process, scratch: Path, environ: Mapping[str, str]) -> None:
        self.machine.boundary(process)
        store, clock = self.world.faulty(self.machine, process), self.world.clock
        last = explained(lambda: attempt_stage(stage, store, environ, clock, self.machine.stop, GRACE), scratch)
        self.machine.boundary(process)
        contract.write_termination(scratch / "termination.json", last)
        self.machine.boundary(process)

    def ended(self, process: StageProcess) -> bool:
        return True

    def ask_to_stop(self, process: StageProcess, monotonic: float) -> None:
        return

    def kill(self, process: StageProcess) -> None:
        return

    def forget(self, process: StageProcess) -> None:
        shutil.rmtree(process.scratch, ignore_errors=True)


@dataclass(slots=True)
class World:
    """A directory with a run file, a store and what is counted over all calls."""

    run_file: Path
    home: Path
    real_training: bool = False
    clock: WarmClock = field(default_factory=WarmClock)
    ledger: Ledger = field(default_factory=Ledger)
    calls: int = 0
    numbers: "count[int]" = field(default_factory=count)

    @property
    def environ(self) -> dict[str, str]:
        return {"MSM_HOME": str(self.home)}

    def store(self) -> ObjectStore:
        """The real one."""
        return open_store(StoreConfig(f"file://{self.home.resolve()}/store"))

    def faulty(self, machine: Machine, process: Process) -> FaultyStore:
        machine.check(process)
        return FaultyStore(self.store(), machine, process, self.home / "store" / INCOMING)

    def call(self, faults: Mapping[int, Fault] | None = None) -> "Call":
        """One `msm run`, to its end or its crash."""
        self.calls += 1
        machine = Machine(faults or {}, self.ledger, Stop(self.clock), lambda: self._overtake())
        executor = Process("executor")
        with ExitStack() as stack:
            stack.enter_context(patch("msm.local.accept.open_store", lambda config: self.faulty(machine, executor)))
            told = dict(alone()) if self.real_training else {}
            stack.enter_context(patch.dict(os.environ, {"MSM_STORE_URI": f"file://{self.home.resolve()}/store", **told}))
            stack.enter_context(self._training())
            try:
                return Call(machine, self._run(machine))
            except PowerCut:
                return Call(machine, None)
            except MSMError as error:
                return Call(machine, None, error)

    def _run(self, machine: Machine) -> RunStatus:
        accepted = accept(self.run_file, self.environ, self.run_file.parent)
        session = Session(accepted, self.clock, lambda status: None, load_status(accepted.store, accepted.uid))
        launcher = WarmLauncher(self, machine, accepted.workspace.scratch, accepted.workspace.cache)
        return run_stages(session, launcher, machine.stop)

    def _training(self) -> "patch":  # type: ignore[valid-type]
        if not self.real_training:
            return patch("msm.stages.training.run_training", counting_training)
        from msm.train.launch import run_training
        from tests.chaos.trainers import thread_ranks

        def train(job: TrainJob, *rest: Any) -> TrainOutcome:
            often = job.model_copy(update={"checkpointEverySteps": 4})
            return run_training(often, *rest, start=thread_ranks)  # type: ignore[arg-type]

        return patch("msm.stages.training.run_training", train)

    def _overtake(self) -> None:
        """Somebody else comes an hour later, finds silent heartbeats and does all that is left."""
        self.clock.sleep(3600)
        self.call()

    def accepted(self) -> Accepted:
        """The run as it stands, read without faults."""
        return accept(self.run_file, self.environ, self.run_file.parent)


@dataclass(frozen=True, slots=True)
class Call:
    """How a call ended: a status, an error that the command line would print, or nothing at all."""

    machine: Machine
    status: RunStatus | None
    error: MSMError | None = None

    @property
    def succeeded(self) -> bool:
        return self.status is not None and self.status.phase is Phase.SUCCEEDED


def pass_time(clock: WarmClock, draw: random.Random) -> None:
    """Between two calls: a moment, a minute, a night, or a clock that was set back by an hour."""
    choice = draw.choice((0.0, 2.0, 60.0, 30_000.0, -3600.0))
    if choice < 0:
        clock.set_back(-choice)
    else:
        clock.sleep(choice)


def quiet_threads() -> None:
    """A cut that hits a heartbeat's thread ends it without a traceback on the terminal."""
    usual = threading.excepthook
    threading.excepthook = lambda args: None if args.exc_type is PowerCut else usual(args)
