"""Progress as plain lines: one when a stage changes its state, one every ten seconds for each stage that runs.

Neighbours: `display` chooses it where there is no terminal. Invariant: no cursor movement, no colour; a line stands for itself, so that a
log can be searched. Cost: bounded by stages and time, not by passes.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from msm.cli.words import clean, decimal, duration
from msm.clock import Clock
from msm.local.eta import remaining_seconds
from msm.local.status import RunStatus, StageStatus, State

EVERY_SECONDS = 10.0
QUIET = (State.PENDING, State.NOT_NEEDED)
"""States that are not worth a line."""


@dataclass(slots=True)
class LineDisplay:
    """Remembers what was said of each stage."""

    say: Callable[[str], None]
    clock: Clock
    states: dict[str, State] = field(default_factory=dict)
    said: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        """Begin; nothing to prepare."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End; nothing to undo."""

    def note(self, text: str) -> None:
        """Print one line, from any thread."""
        with self.lock:
            self.say(text)

    def report(self, status: RunStatus) -> None:
        """Print what is new."""
        lines = list(self._new(status))
        for line in lines:
            self.note(line)

    def _new(self, status: RunStatus) -> Iterator[str]:
        if not self.states:
            yield _opening(status)
            self.states = {s.fingerprint: s.state if s.state is State.DONE else State.PENDING for s in status.stages}
        now = self.clock.monotonic()
        for stage in status.stages:
            changed = stage.state is not self.states[stage.fingerprint]
            due = now - self.said.get(stage.fingerprint, now) >= EVERY_SECONDS and stage.state is State.RUNNING
            if (changed and stage.state not in QUIET) or due:
                yield f"{_head(status)} {clean(stage.name)}: {stage_words(stage)}"
            if changed or due:
                self.states[stage.fingerprint], self.said[stage.fingerprint] = stage.state, now


def _opening(status: RunStatus) -> str:
    there = sum(s.state is State.DONE for s in status.stages)
    done = f", {there} done already" if there else ""
    return f"{clean(status.run)}: {len(status.stages)} stages{done}"


def _head(status: RunStatus) -> str:
    return f"[{status.percentage:3.0f}% ETA {duration(remaining_seconds(status))}]"


def stage_words(stage: StageStatus) -> str:
    """A stage's state and, while it runs, its progress and measurements."""
    match stage.state:
        case State.DONE:
            return f"done in {duration(stage.seconds)}" if stage.attempts else "re-used"
        case State.RUNNING | State.FOLLOWING:
            return ", ".join((stage.state.value, *_progress(stage)))
    return f"{stage.state.value}: {clean(stage.message)}" if stage.message else stage.state.value


def _progress(stage: StageStatus) -> Iterator[str]:
    if stage.total_steps:
        yield f"{stage.percentage:.0f}%"
        yield f"step {stage.step}/{stage.total_steps}"
    if "loss" in stage.metrics:
        yield f"loss {decimal(stage.metrics['loss'], 3)}"
    if "tokensPerSecond" in stage.metrics:
        yield f"{decimal(stage.metrics['tokensPerSecond'], 0)} tokens/s"
    if stage.remaining_seconds is not None:
        yield f"ETA {duration(stage.remaining_seconds)}"
