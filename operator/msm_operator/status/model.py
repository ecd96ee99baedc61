"""The status of an MSMRun as typed values, and as the dict that is applied.

Pure. Neighbours: the controller fills it, `changes` says whether it is worth a write. Invariant: unfinished stages of which there is
something to say have a row, all others are counts, so that 500 stages stay below 256 KB. Units: percent, seconds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msm.cli.words import duration
from msm_operator.status.conditions import Wanted, conditions, shortened, stamp
from msm_operator.status.history import History, from_row, to_row
from msm_operator.status.reasons import Reason

ROOM = 200_000
"""Bytes of all rows together; the API server keeps an object of 1.5 MB, but nobody reads one."""
MESSAGE_LEVELS = (240, 120, 60, 30, 0)
"""Characters of a row's messages, by how many rows there are to fit."""
FINGERPRINT = 16
"""Characters of a fingerprint that a row and a label carry; a plan has at most 500 stages."""


@dataclass(frozen=True, slots=True)
class Row:
    """One unfinished stage: where it stands, why, what was tried, and when it is tried next."""

    name: str
    kind: str
    fingerprint: str
    state: str
    history: History
    reason: Reason | None = None
    message: str = ""
    percentage: float | None = None
    next_retry: datetime | None = None

    def to_dict(self, room: int = MESSAGE_LEVELS[0]) -> dict[str, Any]:
        """As it stands in the status, with messages of at most `room` characters."""
        row: dict[str, Any] = {"name": self.name, "kind": self.kind, "fingerprint": self.fingerprint[:FINGERPRINT], "state": self.state}
        if self.reason is not None:
            row["reason"] = self.reason.value
        if self.message and room:
            row["message"] = shortened(self.message, room)
        if self.percentage is not None:
            row["percentage"] = int(self.percentage)
        if self.next_retry is not None:
            row["nextRetry"] = stamp(self.next_retry)
        return row | to_row(self.history, room)


def fitted(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """All rows, with messages as long as there is room for."""
    for room in MESSAGE_LEVELS:
        found = [row.to_dict(room) for row in rows]
        if sum(len(json.dumps(row, separators=(",", ":"))) for row in found) <= ROOM:
            break
    return found


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """The frozen plan in numbers: stages in all, those committed, those committed without this run's doing; and arms compared."""

    digest: str
    total: int
    done: int
    reused: int
    arms: int


@dataclass(frozen=True, slots=True)
class Status:
    """What a run's status says."""

    generation: int
    conditions: Sequence[Wanted]
    run: str | None = None
    plan: PlanCounts | None = None
    stage: str = ""
    rows: Sequence[Row] = ()
    percentage: float | None = None
    remaining_seconds: float | None = None
    results: Mapping[str, Any] | None = None

    def to_dict(self, before: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        """The whole status; what it does not mention is removed by applying it."""
        status: dict[str, Any] = {"observedGeneration": self.generation}
        if self.run is not None:
            status["run"] = self.run
        if self.plan is not None:
            counts = self.plan
            status["plan"] = {
                "digest": counts.digest,
                "total": counts.total,
                "done": counts.done,
                "reused": counts.reused,
                "arms": counts.arms,
            }
        if self.percentage is not None:
            progress: dict[str, Any] = {"percentage": int(self.percentage)}
            if self.remaining_seconds is not None:
                progress["estimatedRemainingSeconds"] = round(self.remaining_seconds)
                progress["remaining"] = duration(self.remaining_seconds)
            status["progress"] = progress
        if self.stage:
            status["stage"] = self.stage
        if self.rows:
            status["stages"] = fitted(self.rows)
        if self.results is not None:
            status["results"] = dict(self.results)
        status["conditions"] = conditions(self.conditions, before.get("conditions", ()), self.generation, now)
        return status


def histories(status: Mapping[str, Any]) -> dict[str, History]:
    """What a status remembers: first characters of the fingerprint -> history."""
    return {str(row["fingerprint"]): from_row(row) for row in status.get("stages", ()) if "fingerprint" in row}
