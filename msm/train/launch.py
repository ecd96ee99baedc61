"""Runs a training from the entry program: starts the ranks, relays progress and checkpoints, stops them, says how it ended.

torch is never imported here. Neighbours: `processes` starts and ends, `worker` is what runs, `outcome` is what crosses over;
`stages` calls `run_training`. Invariants: when it returns, no process of the training runs here; `done` means that `job.out` is
complete on the machine that leads; a stop leaves a complete checkpoint when there was a step to save. Cost: a poll of a few files
every 0.1 s.
"""

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree

from msm.errors import TryAgain, UserError
from msm.train.job import TrainJob
from msm.train.outcome import StepReport, TrainOutcome, WorkFiles, read_outcome, write_json
from msm.train.processes import Ranks, start_ranks

OnProgress = Callable[[StepReport], None]
OnCheckpoint = Callable[[int, Path], None]

POLL_SECONDS = 0.1
FOLLOW_SECONDS = 3.0
KEPT_CHECKPOINTS = 2
REDELIVER_SECONDS = 5.0
"""Between two tries to hand over a checkpoint that nobody took."""

KILLED_HERE = re.compile(r"exitcode *: *-\d+")
"""torchrun's word for a rank on this machine that a signal ended before torchrun ended any."""
NOT_MET = re.compile(r"Rendezvous\w*Error")
"""torchrun's word for machines that did not find each other."""

log = logging.getLogger(__name__)


def run_training(
    job: TrainJob,
    on_progress: OnProgress,
    on_checkpoint: OnCheckpoint,
    stop: threading.Event,
    grace_seconds: float,
    start: Callable[[TrainJob, Mapping[str, str]], Ranks] = start_ranks,
) -> TrainOutcome:
    """Trains until done, stopped or failed; blocks. `on_checkpoint` runs in another thread, one at a time, the newest first to go.

    After `stop` the ranks have `grace_seconds` to checkpoint; then they are killed and the last complete checkpoint counts. A delivery that
    raises TryAgain is repeated, with a newer checkpoint if there is one, while the training goes on.

    Raises:
        TryAgain: stopped, and the last checkpoint could not be delivered.
    """
    files = _prepare(job)
    ranks = start(job, os.environ)
    courier = Courier(files.checkpoints, on_checkpoint)
    try:
        with closing(_tail(files.progress)) as lines:
            _watch(job, ranks, lambda: _relay(lines, on_progress, courier), stop, grace_seconds)
            ranks.end_all()
            _relay(lines, on_progress, courier)
    finally:
        ranks.end_all()
        courier.finish()
    outcome = _conclude(job, files, courier.newest, stopped=stop.is_set())
    if outcome.kind == "preempted" and courier.refused is not None:
        raise TryAgain(
            f"stopped at step {outcome.step}; the checkpoint of step {courier.newest} is the last that is stored: {courier.refused}"
        )
    return outcome


def _prepare(job: TrainJob) -> WorkFiles:
    files = WorkFiles(job.work)
    if job.out.exists():
        raise UserError("out", f"{job.out.name} exists; a training writes a new directory", "remove it or name another")
    try:
        files.checkpoints.mkdir(parents=True, exist_ok=True)
        files.clear()
        for partial in files.checkpoints.glob("*.tmp"):
            rmtree(partial)
        write_json(files.job, job.model_dump(mode="json"))
    except OSError as error:
        raise UserError(
            "work", f"{job.work} cannot be written ({error.strerror})", "free space or choose another work directory"
        ) from error
    return files


def _watch(job: TrainJob, ranks: Ranks, relay: Callable[[], None], stop: threading.Event, grace_seconds: float) -> None:
    """Returns when torchrun has ended, when the grace is over, or when a rank failed and the others had their moment to follow."""
    files, deadline = WorkFiles(job.work), float("inf")
    while not ranks.ended() and time.monotonic() < deadline:
        relay()
        if stop.is_set() and not files.stop.exists():
            files.stop.touch()
            deadline = min(deadline, time.monotonic() + grace_seconds)
        if any(outcome.kind in ("fault", "user_error", "try_again") for outcome in _outcomes(job)):
            deadline = min(deadline, time.monotonic() + FOLLOW_SECONDS)
        if len(list(_outcomes(job))) == job.processes:
            deadline = min(deadline, time.monotonic() + FOLLOW_SECONDS)
        time.sleep(POLL_SECONDS)


def _relay(lines: Iterator[str | None], on_progress: OnProgress, courier: "Courier") -> None:
    while (line := next(lines)) is not None:
        on_progress(StepReport(**json.loads(line)))
    courier.collect()


def _tail(path: Path) -> Generator[str | None]:
    """Whole lines as they are appended; None when there is none yet."""
    while not path.exists():
        yield None
    with path.open(encoding="utf-8") as file:
        part = ""
        while True:
            part += file.readline()
            if part.endswith("\n"):
                yield part
                part = ""
            else:
                yield None


def _outcomes(job: TrainJob) -> Iterator[TrainOutcome]:
    files = WorkFiles(job.work)
    return (outcome for rank in range(job.processes) if (outcome := read_outcome(files.outcome(rank))) is not None)


def _conclude(job: TrainJob, files: WorkFiles, newest: int, *, stopped: bool) -> TrainOutcome:
    """The gravest word of any rank; silence is a fault, or, after a stop, the last checkpoint."""
    outcomes = list(_outcomes(job))
    for kind in ("user_error", "fault"):
        if found := next((outcome for outcome in outcomes if outcome.kind == kind), None):
            return found
    if len(outcomes) == job.processes and len({outcome.kind for outcome in outcomes}) == 1:
        return outcomes[0]
    if stopped:
        return TrainOutcome("preempted", newest, f"the grace ended before the ranks did; step {newest} is the last that is saved")
    if job.machines > 1 and not KILLED_HERE.search(_read(files.log)):
        if lost := next((outcome for outcome in outcomes if outcome.kind == "try_again"), None):
            return lost
        if NOT_MET.search(_read(files.log)):
            return TrainOutcome("try_again", newest, f"the {job.machines} machines did not meet: {_last_words(files.log)}")
    return TrainOutcome("fault", newest, f"a rank ended without an outcome: {_last_words(files.log)}")


def _last_words(log: Path) -> str:
    """The last line that says something; torchrun's frame of a failure is left out."""
    lines = [line.strip() for line in _read(log).splitlines()]
    telling = [line for line in lines if "Error" in line or "Signal" in line or "signal" in line] or [line for line in lines if line]
    return telling[-1][:300] if telling else "nothing was printed"


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


@dataclass(slots=True)
class Courier:
    """Hands complete checkpoints on, newest first, and removes those that are no longer needed.

    State: `newest`, the last step handed over; `refused`, why the last delivery was not taken (None: it was); a single thread, so that an
    upload never holds up progress or a stop.
    """

    directory: Path
    deliver: OnCheckpoint
    newest: int = 0
    refused: TryAgain | None = None
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "checkpoint"))
    _running: "Future[int] | None" = None
    _not_before: float = 0.0

    def collect(self) -> None:
        """Hands over the newest complete checkpoint if it is new and the last delivery has ended."""
        if self._running is not None and not self._running.done():
            return
        self._settle()
        if time.monotonic() >= self._not_before:
            self._hand_over()

    def finish(self) -> None:
        """Waits for the delivery under way, then for the newest one; raises what one raised, but notes TryAgain only (`refused`)."""
        try:
            self._settle()
            self._hand_over()
            self._settle()
        finally:
            self._thread.shutdown()

    def _hand_over(self) -> None:
        complete = complete_checkpoints(self.directory)
        if complete and complete[-1][0] > self.newest:
            step, path = complete[-1]
            self._prune(complete[:-KEPT_CHECKPOINTS])
            self._running = self._thread.submit(self._deliver, step, path)

    def _deliver(self, step: int, path: Path) -> int:
        self.deliver(step, path)
        return step

    def _settle(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        try:
            self.newest, self.refused = running.result(), None
        except TryAgain as error:
            self.refused, self._not_before = error, time.monotonic() + REDELIVER_SECONDS
            log.warning("a checkpoint is not stored yet: %s", error)

    def _prune(self, old: Sequence[tuple[int, Path]]) -> None:
        for _, path in old:
            rmtree(path)


def complete_checkpoints(directory: Path) -> list[tuple[int, Path]]:
    """(step, directory) of every complete checkpoint, oldest first; an unfinished one still has its temporary name."""
    return sorted((int(path.name.removeprefix("step-")), path) for path in directory.glob("step-*") if path.name[5:].isdigit())
