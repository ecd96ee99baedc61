"""The status of an EvalDeployment as the dict that is applied, and the events that its changes are worth.

Pure. Neighbours: the controller fills it. Invariant: `lastTransitionTime` changes when and only when a condition's status does; at most 64
refusals, the latest last; an unchanged status is never written.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from msm.api.evaldeployment import Score
from msm_operator.promotion.observed import Refusal
from msm_operator.promotion.reasons import ConditionType, Reason
from msm_operator.status.conditions import MESSAGE_LIMIT, shortened, stamp

MOST_REFUSALS = 64
REFUSAL_MESSAGE = 500
Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a condition is to say."""

    type: ConditionType
    status: Truth
    reason: Reason
    message: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    type: Literal["Normal", "Warning"]
    reason: str
    action: str
    note: str


def refusals(status: Mapping[str, Any]) -> dict[str, Refusal]:
    """What a status remembers of versions that were refused."""
    found = status.get("refused") or ()
    return {str(r["version"]): Refusal(str(r["version"]), str(r["reason"]), r.get("message", ""), r.get("generation", 0)) for r in found}


def refused_rows(before: Mapping[str, Refusal], new: Refusal | None, served: str | None) -> list[dict[str, Any]]:
    """The refusals with a new one at the end, without the version that is served now."""
    kept = {version: refusal for version, refusal in before.items() if version != served}
    if new is not None:
        kept.pop(new.version, None)
        kept[new.version] = new
    return [_row(refusal) for refusal in list(kept.values())[-MOST_REFUSALS:]]


def _row(refusal: Refusal) -> dict[str, Any]:
    message = shortened(refusal.message, REFUSAL_MESSAGE)
    return {"version": refusal.version, "reason": refusal.reason, "message": message, "generation": refusal.generation}


def score_rows(scores: Iterable[Score]) -> list[dict[str, Any]]:
    """Scores, rounded to six digits: an interval's last bits are no news."""
    plain = (score.model_dump(by_alias=True, exclude_none=True) for score in scores)
    return [{name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()} for row in plain]


def conditions(wanted: Sequence[Wanted], before: Mapping[str, Any], generation: int, now: datetime) -> list[dict[str, Any]]:
    """The wanted conditions; one that nothing is said of stays as it was."""
    old = {c["type"]: c for c in before.get("conditions") or ()}
    said = {w.type.value: _condition(w, old.get(w.type.value), generation, now) for w in wanted}
    return [said[t.value] if t.value in said else old[t.value] for t in ConditionType if t.value in said or t.value in old]


def _condition(wanted: Wanted, before: Mapping[str, Any] | None, generation: int, now: datetime) -> dict[str, Any]:
    same = before is not None and before.get("status") == wanted.status
    return {
        "type": wanted.type.value,
        "status": wanted.status,
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and same else stamp(now),
        "reason": wanted.reason.value,
        "message": shortened(wanted.message, MESSAGE_LIMIT),
    }


GOOD = {ConditionType.PROMOTING.value: None}
"""Conditions that are neither good nor bad."""


def events(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Event]:
    """One for each version that is served or refused, and for each condition that turned."""
    if after.get("version") != before.get("version") and after.get("version"):
        was = f"; it was {before['version']}" if before.get("version") else ""
        yield Event("Normal", "Switched", "Promote", f"version {after['version']} is served{was}")
    known = {(r["version"], r.get("generation")) for r in before.get("refused") or ()}
    for row in after.get("refused") or ():
        if (row["version"], row.get("generation")) not in known:
            yield Event("Warning", row["reason"], "Refuse", shortened(f"version {row['version']}: {row['message']}", REFUSAL_MESSAGE))
    old = {c["type"]: c["status"] for c in before.get("conditions") or ()}
    for condition in after.get("conditions") or ():
        turned = old.get(condition["type"]) != condition["status"]
        if turned and condition["type"] not in GOOD and (condition["type"] in old or condition["status"] == "False"):
            tone: Literal["Normal", "Warning"] = "Normal" if condition["status"] == "True" else "Warning"
            yield Event(tone, condition["reason"], condition["type"], shortened(condition["message"] or condition["type"], REFUSAL_MESSAGE))
