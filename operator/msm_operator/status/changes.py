"""Whether a status is worth a write, and which events a change is worth.

Pure. Neighbours: the controller asks before it writes and tells after it wrote. Invariant: an unchanged status is never written; numbers
that creep are written on a whole point or every 30 seconds; each transition makes one event.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from msm_operator.status.conditions import find, shortened
from msm_operator.status.reasons import ConditionType

EVERY_SECONDS = 30.0
POINTS = 1
NOTE_LIMIT = 500


def is_worth_writing(before: Mapping[str, Any], after: Mapping[str, Any], seconds_since_write: float) -> bool:
    """True on a transition, on a point of progress, or when anything else has changed for 30 seconds."""
    if before == after:
        return False
    if _settled(before) != _settled(after) or seconds_since_write >= EVERY_SECONDS:
        return True
    return abs(_percentage(after) - _percentage(before)) >= POINTS


def _percentage(status: Mapping[str, Any]) -> int:
    return int(status.get("progress", {}).get("percentage", 0))


def _settled(status: Mapping[str, Any]) -> dict[str, Any]:
    """A status without the numbers that creep while nothing happens."""
    rows = [{name: value for name, value in row.items() if name not in ("percentage", "step")} for row in status.get("stages", ())]
    return {**{name: value for name, value in status.items() if name != "progress"}, "stages": rows}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a run."""

    type: Literal["Normal", "Warning"]
    reason: str
    action: str
    note: str


BAD = (ConditionType.FAILED,)
AVAILABILITY = (
    ConditionType.STORE_AVAILABLE,
    ConditionType.TRAINING_AVAILABLE,
    ConditionType.SERVING_AVAILABLE,
    ConditionType.TRACKING_AVAILABLE,
)


def events(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Event]:
    """One event for each condition that turned, each attempt that ended and each stage that was finished or given up."""
    return [*_condition_events(before, after), *_stage_events(before, after)]


def _condition_events(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Event]:
    for type_ in ConditionType:
        old, new = find(before, type_), find(after, type_)
        if new is None or (old is not None and (old["status"], old["reason"]) == (new["status"], new["reason"])):
            continue
        if old is None and not _is_news(type_, new):
            continue
        if old is not None and old["status"] == new["status"] and type_ is not ConditionType.ACCEPTED:
            continue
        yield Event(
            _tone(type_, new), str(new["reason"]), type_.value, shortened(new["message"] or f"{type_.value}={new['status']}", NOTE_LIMIT)
        )


def _is_news(type_: ConditionType, condition: Mapping[str, Any]) -> bool:
    """Whether a condition says something when it is there for the first time: that a run is not suspended is none."""
    usual = "True" if type_ in (ConditionType.ACCEPTED, *AVAILABILITY) else "False"
    return type_ is ConditionType.ACCEPTED or condition["status"] != usual


def _tone(type_: ConditionType, condition: Mapping[str, Any]) -> Literal["Normal", "Warning"]:
    bad = "True" if type_ in BAD else "False" if type_ in (ConditionType.ACCEPTED, *AVAILABILITY) else None
    return "Warning" if condition["status"] == bad else "Normal"


def _stage_events(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Event]:
    old = {row["fingerprint"]: row for row in before.get("stages", ())}
    for row in after.get("stages", ()):
        was = old.get(row["fingerprint"], {})
        if row.get("last") and row.get("last") != was.get("last"):
            last = row["last"]
            calm = last["ending"] in ("Preempted", "TryAgain")
            yield Event(
                "Normal" if calm else "Warning",
                last["reason"],
                "Attempt",
                shortened(f"{row['name']}: {last.get('message', last['reason'])}", NOTE_LIMIT),
            )
        if row.get("active") and row.get("active") != was.get("active"):
            yield Event("Normal", "Started", "Stage", f"{row['name']}: attempt {row['active']}")
        if row["state"] == "failed" and was.get("state") != "failed":
            note = shortened(f"{row['name']} is given up: {row.get('message', '')}", NOTE_LIMIT)
            yield Event("Warning", str(row.get("reason", "Fault")), "Stage", note)
    yield from _finished(before, after, old)


def _finished(before: Mapping[str, Any], after: Mapping[str, Any], old: Mapping[str, Mapping[str, Any]]) -> Iterator[Event]:
    done = after.get("plan", {}).get("done", 0) - before.get("plan", {}).get("done", 0)
    left = {row["fingerprint"] for row in after.get("stages", ())}
    gone = [row["name"] for fingerprint, row in old.items() if fingerprint not in left and row.get("active")]
    if done > 0 and gone:
        yield Event("Normal", "Committed", "Stage", shortened(", ".join(gone), NOTE_LIMIT))
