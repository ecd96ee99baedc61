"""When a run has come where it was to come, or never will.

`decided` is pure; `wait_for` asks until it answers. Neighbours: `runs` looks. Invariant: fails at once when a run can no longer come there;
an API server that is away for a while ends nothing before the time is over. Cost: one request every two seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from msm.clock import Clock
from msm.cluster.objects import OVER, RunObject, Standing
from msm.errors import TryAgain

EVERY_SECONDS = 2.0


class Goal(StrEnum):
    """What can be waited for."""

    ACCEPTED = "accepted"
    SUSPENDED = "suspended"
    SUCCEEDED = "succeeded"


class Outcome(StrEnum):
    """How waiting ended."""

    REACHED = "reached"
    FAILED = "failed"
    REFUSED = "refused"
    GONE = "gone"
    TIME_OVER = "time over"


@dataclass(frozen=True, slots=True)
class Ended:
    """How waiting ended, with the run as it was last seen and, where the server was silent, what was said of that."""

    outcome: Outcome
    run: RunObject | None
    silence: str = ""


def decided(run: RunObject, goal: Goal) -> Outcome | None:
    """Whether a run has reached a goal or never will; None while both are possible."""
    standing = run.standing
    if _is_reached(run, standing, goal):
        return Outcome.REACHED
    if standing is Standing.REFUSED:
        return Outcome.REFUSED
    if standing is Standing.FAILED or (goal is Goal.SUSPENDED and standing in OVER):
        return Outcome.FAILED
    return Outcome.GONE if run.is_deleting else None


def _is_reached(run: RunObject, standing: Standing, goal: Goal) -> bool:
    match goal:
        case Goal.SUCCEEDED:
            return standing is Standing.SUCCEEDED
        case Goal.SUSPENDED:
            return standing is Standing.SUSPENDED
        case Goal.ACCEPTED:
            return run.is_true("Accepted")


def wait_for(
    look: Callable[[], RunObject | None], goal: Goal, seconds: float | None, clock: Clock, heard: Callable[[RunObject], None]
) -> Ended:
    """Look until the goal is decided, `seconds` at most; `heard` is told of every look. None of `look` is a run that is gone."""
    begun, last, silence = clock.monotonic(), None, ""
    while True:
        try:
            last, silence = look(), ""
        except TryAgain as error:
            silence = str(error)
        else:
            if last is None:
                return Ended(Outcome.GONE, None)
            heard(last)
            if (outcome := decided(last, goal)) is not None:
                return Ended(outcome, last)
        left = None if seconds is None else seconds - (clock.monotonic() - begun)
        if left is not None and left <= 0:
            return Ended(Outcome.TIME_OVER, last, silence)
        clock.sleep(EVERY_SECONDS if left is None else min(EVERY_SECONDS, left))
