"""What is remembered of a stage's attempts, small enough for the status of a run with 500 stages.

Pure. Neighbours: status rows keep it, decisions read and extend it. Invariant: `seen()` makes `msm.plan.decide.next_attempt` decide as
the full list of attempts would: counts of faults and of tries-again, the last attempt, and preemptions in a row at one step are all it
looks at. Cost: a few numbers a stage.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from msm.plan.decide import STANDSTILL, Attempt, Ending
from msm_operator.status.conditions import moment, shortened, stamp
from msm_operator.status.reasons import Reason

MESSAGE_LIMIT = 240


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended: whose move it is, and what to call it."""

    ending: Ending
    reason: Reason
    message: str
    when: datetime


@dataclass(frozen=True, slots=True)
class History:
    """One stage of one run.

    `attempts` is the highest number whose child is over, `active` the number under way (0: none). `started` is since when its time counts
    against the deadline, `spent` the seconds that counted before it was queued or suspended.
    """

    attempts: int = 0
    active: int = 0
    faults: int = 0
    try_agains: int = 0
    standstill: int = 0
    step: int = 0
    last: Ended | None = None
    started: datetime | None = None
    spent: float = 0.0

    def seen(self) -> list[Attempt]:
        """Attempts that `next_attempt` decides from as from the real ones."""
        if self.last is None:
            return []
        ended, ending = self.last.when, self.last.ending
        faults = self.faults - (ending is Ending.FAULT)
        again = self.try_agains - (ending is Ending.TRY_AGAIN)
        alike = min(self.standstill, STANDSTILL) - 1 if ending is Ending.PREEMPTED else 0
        before = [Attempt(Ending.FAULT, ended)] * faults + [Attempt(Ending.TRY_AGAIN, ended)] * again
        tail = [Attempt(Ending.PREEMPTED, ended, self.step)] * alike
        return [*before, *tail, Attempt(ending, ended, self.step, f"{self.last.reason.value}: {self.last.message}")]

    def begun(self, number: int) -> "History":
        """With an attempt under way."""
        return replace(self, active=number)

    def with_ending(self, number: int, ended: Ended, step: int) -> "History":
        """With an attempt's end counted."""
        preempted = ended.ending is Ending.PREEMPTED
        still = preempted and self.last is not None and self.last.ending is Ending.PREEMPTED and self.step == step
        return replace(
            self,
            attempts=number,
            active=0,
            faults=self.faults + (ended.ending is Ending.FAULT),
            try_agains=self.try_agains + (ended.ending is Ending.TRY_AGAIN),
            standstill=self.standstill + 1 if still else int(preempted),
            step=step,
            last=replace(ended, message=shortened(ended.message, MESSAGE_LIMIT)),
        )

    def dropped(self, number: int) -> "History":
        """With an attempt that was stopped by us: its number is used, its end counts for nothing."""
        return replace(self, attempts=max(self.attempts, number), active=0)

    def counting(self, now: datetime) -> "History":
        """With the stage's time counting."""
        return self if self.started is not None else replace(self, started=now)

    def paused(self, now: datetime) -> "History":
        """With the stage's time standing still: it is queued or suspended."""
        return self if self.started is None else replace(self, started=None, spent=self.spent_at(now))

    def spent_at(self, now: datetime) -> float:
        """Seconds that count against the deadline."""
        return round(self.spent + ((now - self.started).total_seconds() if self.started is not None else 0.0), 1)

    def started_for(self, now: datetime) -> datetime:
        """When the stage would have started, had it never stood still."""
        return now - timedelta(seconds=self.spent_at(now))


EMPTY = History()


def to_row(history: History, room: int = MESSAGE_LIMIT) -> dict[str, Any]:
    """The fields of a status row that keep a history, its message in `room` characters; zeros are left out."""
    last = history.last
    counts = {
        "attempts": max(history.attempts, history.active),
        "active": history.active,
        "faults": history.faults,
        "tryAgains": history.try_agains,
        "standstill": history.standstill,
        "step": history.step,
        "spentSeconds": history.spent,
    }
    row: dict[str, Any] = {name: value for name, value in counts.items() if value}
    if history.started is not None:
        row["startTime"] = stamp(history.started)
    if last is not None:
        said = {"message": shortened(last.message, room)} if room and last.message else {}
        row["last"] = {"ending": last.ending.value, "reason": last.reason.value, **said, "time": stamp(last.when)}
    return row


def from_row(row: Mapping[str, Any]) -> History:
    """What `to_row` wrote; what another version wrote and this one cannot read counts as not there."""
    active = int(row.get("active", 0))
    highest = int(row.get("attempts", 0))
    return History(
        attempts=highest - 1 if active else highest,
        active=active,
        faults=int(row.get("faults", 0)),
        try_agains=int(row.get("tryAgains", 0)),
        standstill=int(row.get("standstill", 0)),
        step=int(row.get("step", 0)),
        last=_ended(row.get("last")),
        started=moment(row.get("startTime")),
        spent=float(row.get("spentSeconds", 0.0)),
    )


def _ended(kept: Mapping[str, Any] | None) -> Ended | None:
    if kept is None or (when := moment(kept.get("time"))) is None:
        return None
    try:
        return Ended(Ending(kept["ending"]), Reason(kept["reason"]), str(kept.get("message", "")), when)
    except (KeyError, ValueError):
        return None
