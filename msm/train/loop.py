"""The training loop, to be read from top to bottom.

One update: the rows that (seed, epoch, step) give, split over ranks and micro-batches, their losses summed and divided by the
target tokens of the whole update, one clipped AdamW step. Neighbours: `data.batches` says which rows, `engine` computes,
`checkpoint` saves, `worker` calls. Invariant: the sequence of losses does not depend on interruptions; up to rounding not on
ranks or micro-batches.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from msm.data.batches import IGNORED, BatchPlan, MicroBatch, collate, draw, micro_batches
from msm.data.examples import PackedCorpus
from msm.errors import UserError
from msm.train.engine import Engine
from msm.train.job import TrainJob
from msm.train.outcome import StepReport
from msm.train.schedule import Schedule

GO_ON, CHECKPOINT, STOP = 0.0, 1.0, 2.0
DROPOUT_STREAM = 1


@dataclass(frozen=True, slots=True)
class Update:
    """What one update gave: mean loss over its target tokens, gradient norm before clipping, tokens without padding."""

    loss: float
    gradient_norm: float
    tokens: int


@dataclass(slots=True)
class Trainer:
    """Everything an update needs; `wants` is asked for a signal before each micro-batch, on each rank."""

    job: TrainJob
    corpus: PackedCorpus
    plan: BatchPlan
    schedule: Schedule
    engine: Engine
    wants: Callable[[], float]

    def train(self, start: int, report: Callable[[StepReport], None], save: Callable[[int], object]) -> int:
        """Updates from `start` to the end or to a stop; returns the number of updates done in all."""
        speed = Speed()
        for step in range(start, self.plan.updates):
            signal = self.engine.highest(self.wants())
            if signal >= CHECKPOINT and step > start:
                save(step)
            update = self.update(step) if signal < STOP else None
            if update is None:
                return self._stop(step, start, saved=signal >= STOP, save=save)
            report(speed.report(step + 1, self.plan.updates, update, self.schedule.rate(step)))
        return self.plan.updates

    def _stop(self, step: int, start: int, *, saved: bool, save: Callable[[int], object]) -> int:
        if step > start and not saved:
            save(step)
        return step

    def update(self, step: int) -> Update | None:
        """One update; None when a stop came between its micro-batches (parameters are then still those before it)."""
        rows = self.plan.rows_of(step)
        targets = max(1, sum(self.corpus.row_targets(row) for row in rows))
        shares = micro_batches(rows, self.engine.rank, self.engine.world, self.job.microBatchRows)
        total = 0.0
        for number, share in enumerate(shares):
            if number and self.engine.highest(self.wants()) >= STOP:
                return None
            batch = collate(self.corpus, share, filler=rows[0])
            torch.manual_seed(draw(self.job.seed, DROPOUT_STREAM, step, *share))
            total += self._accumulate(batch, targets, last=number == len(shares) - 1)
        loss = self.engine.sum(total)[0] / targets
        rate = self.schedule.rate(step)
        self._refuse_non_finite("loss", loss, step, rate)
        norm = self.engine.step(rate)
        self._refuse_non_finite("gradient norm", norm, step, rate)
        return Update(loss, norm, sum(self.corpus.row_tokens(row) for row in rows))

    def _accumulate(self, batch: MicroBatch, targets: int, *, last: bool) -> float:
        """Forward and backward of a micro-batch; returns the sum of its losses. Logits are computed only where there is a label."""
        device = self.engine.device
        ids, positions, labels = (torch.tensor(part, device=device) for part in (batch.ids, batch.positions, batch.labels))
        labelled = (labels != IGNORED).any(dim=0)
        keep = labelled.nonzero().view(-1) if bool(labelled.any()) else torch.zeros(1, dtype=torch.long, device=device)
        logits = self.engine.logits(ids, positions, keep)
        loss = cross_entropy(logits.flatten(0, 1), labels[:, keep].flatten(), ignore_index=IGNORED, reduction="sum")
        self.engine.backward(loss / targets, last=last)
        return float(loss.detach())

    def _refuse_non_finite(self, what: str, value: float, step: int, rate: float) -> None:
        if not math.isfinite(value):
            problem = (
                f"{self.job.learningRate:g}: the {what} became {value} at update {step + 1} of {self.plan.updates} (rate {rate:.3g} there)"
            )
            raise UserError(
                f"{self.job.field}.learningRate", problem, "lower the learning rate or lengthen the warm-up; nothing was committed"
            )


@dataclass(slots=True)
class Speed:
    """Time between reports."""

    last: float = field(default_factory=time.perf_counter)
    hour: Callable[[], float] = time.time

    def report(self, step: int, total: int, update: Update, rate: float) -> StepReport:
        """The report of an update that has just ended."""
        now = time.perf_counter()
        seconds, self.last = now - self.last, now
        speed = update.tokens / seconds if seconds else None
        return StepReport(step, total, update.loss, rate, update.gradient_norm, update.tokens, speed, seconds, self.hour())


@dataclass(slots=True)
class Signals:
    """Reads the stop flag and the clock; a checkpoint is due after so many updates or seconds."""

    job: TrainJob
    stop_file: Path
    stopped: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic
    steps: int = 0
    saved_at: float = field(default_factory=time.monotonic)

    def __call__(self) -> float:
        """The signal of this rank."""
        if self.stopped() or self.stop_file.exists():
            return STOP
        due_steps = self.job.checkpointEverySteps is not None and self.steps >= self.job.checkpointEverySteps
        due_time = self.job.checkpointEverySeconds is not None and self.clock() - self.saved_at >= self.job.checkpointEverySeconds
        return CHECKPOINT if due_steps or due_time else GO_ON

    def stepped(self) -> None:
        """An update ended."""
        self.steps += 1

    def saved(self) -> None:
        """A checkpoint is complete."""
        self.steps, self.saved_at = 0, self.clock()


def append_line(path: Path, report: StepReport) -> None:
    """One line, whole, so that a reader in another process never sees half of it."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(report)) + "\n")
