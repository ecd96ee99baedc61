"""One stage attempt as a process: described as a torchx AppDef, started by torchx's local scheduler, held by a pipe.

Neighbours: `executor` starts and polls these. The operator renders the same AppDef as a pod. Invariant: closing the pipe asks the
stage to stop (it checkpoints and exits 143); a process that outlives its grace is killed with its group; none survives this process.
"""

import os
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msm.plan import Stage
from msm.stages import contract
from msm.stages.app import app_def
from msm.store.writing import storage_errors

if TYPE_CHECKING:
    from torchx.runner import Runner

GRACE_SECONDS = 60.0
"""Seconds a stage has to checkpoint after it was asked to stop."""
ABANDONED_SECONDS = 10 * GRACE_SECONDS
"""Age of a working directory whose executor is gone from which it is removed."""


@dataclass(slots=True)
class StageProcess:
    """A running attempt."""

    stage: Stage
    started: datetime
    handle: str
    scratch: Path
    log: Path
    pipe: int
    asked_to_stop: float | None = None

    @property
    def attempt(self) -> str:
        """The attempt's id; empty until its program has drawn one."""
        path = self.scratch / contract.ATTEMPT_FILE
        return path.read_text(encoding="ascii") if path.is_file() else ""

    @property
    def termination(self) -> contract.Termination | None:
        """The attempt's last message, if it left one."""
        return contract.read_termination(self.scratch / "termination.json")


def sweep(scratch: Path, now: float) -> int:
    """Remove working directories that a killed executor left, once nothing can be at work in them; how many."""
    left = [path for path in scratch.glob("*.*") if _is_abandoned(path, now)]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return len(left)


def _is_abandoned(path: Path, now: float) -> bool:
    owner = path.name.rpartition(".")[2]
    alive = owner.isdecimal() and Path("/proc", owner).exists()
    return not alive and now - path.stat().st_mtime > ABANDONED_SECONDS


@dataclass(slots=True)
class Launcher:
    """Starts attempts with torchx's `local_cwd` scheduler; one per executor."""

    scratch: Path
    cache: Path
    store_environ: Mapping[str, str]
    _runner: "Runner | None" = field(default=None)

    @property
    def runner(self) -> "Runner":
        """The torchx runner, made at first use; it replaces signal handlers, which are put back."""
        if self._runner is None:
            from torchx.runner import get_runner

            kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
            self._runner = get_runner()
            self._runner.scheduler_run_opts("local_cwd")
            for number, handler in kept.items():
                signal.signal(number, handler)
        return self._runner

    def start(self, stage: Stage, number: int, now: datetime) -> StageProcess:
        """Start an attempt in a scratch directory of its own; UserError when there is no room for it."""
        scratch = self.scratch / f"{stage.kind}-{stage.fingerprint[:12]}-{number}.{os.getpid()}"
        with storage_errors(scratch):
            return self._start(stage, now, scratch)

    def _start(self, stage: Stage, now: datetime, scratch: Path) -> StageProcess:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        fifo = scratch / "executor"
        os.mkfifo(fifo)
        contract.reserve_termination(scratch / "termination.json")
        pipe = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        environment = {
            **self.store_environ,
            contract.SCRATCH: str(scratch.resolve()),
            contract.CACHE: str(self.cache.resolve()),
            contract.GRACE: str(GRACE_SECONDS),
            contract.EXECUTOR_PIPE: str(fifo.resolve()),
            contract.TERMINATION_LOG: str((scratch / "termination.json").resolve()),
            "PYTHONUNBUFFERED": "1",
        }
        logs = scratch / "logs"
        handle = self.runner.run(app_def(stage, environment, sys.executable), scheduler="local_cwd", cfg={"log_dir": str(logs)})
        return StageProcess(stage, now, handle, scratch, logs, pipe)

    def ended(self, process: StageProcess) -> bool:
        """Whether the attempt's process is gone."""
        status = self.runner.status(process.handle)
        return status is None or status.is_terminal()

    def ask_to_stop(self, process: StageProcess, monotonic: float) -> None:
        """Close the pipe: the stage checkpoints and exits. Asking twice is harmless."""
        if process.asked_to_stop is None:
            process.asked_to_stop = monotonic
            os.close(process.pipe)

    def kill(self, process: StageProcess) -> None:
        """End the attempt's whole process group now."""
        self.runner.cancel(process.handle)

    def forget(self, process: StageProcess) -> None:
        """Release what an ended attempt held; its scratch directory goes with all that was not stored."""
        if process.asked_to_stop is None:
            os.close(process.pipe)
        shutil.rmtree(process.scratch, ignore_errors=True)

    def close(self) -> None:
        """End whatever still runs."""
        if self._runner is not None:
            self._runner.close()
