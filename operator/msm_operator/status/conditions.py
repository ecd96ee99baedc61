"""Conditions by the API conventions: True, False or Unknown, with a reason, and a time that moves with the status alone.

Pure. Neighbours: `model` carries them. Invariant: `lastTransitionTime` changes when and only when `status` does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from msm_operator.status.reasons import ConditionType, Reason

Truth = Literal["True", "False", "Unknown"]
MESSAGE_LIMIT = 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a condition is to say."""

    type: ConditionType
    status: Truth
    reason: Reason
    message: str = ""


def shortened(text: str, limit: int) -> str:
    """One line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def stamp(when: datetime) -> str:
    """A time as Kubernetes writes it: UTC, whole seconds."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: object) -> datetime | None:
    """The time in a stamp; None for what is none."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def conditions(wanted: Iterable[Wanted], before: Iterable[Mapping[str, Any]], generation: int, now: datetime) -> list[dict[str, Any]]:
    """The wanted conditions, in their order; each keeps its time where its status stands."""
    old = {c.get("type"): c for c in before}
    return [_condition(w, old.get(w.type.value), generation, now) for w in wanted]


def _condition(wanted: Wanted, before: Mapping[str, Any] | None, generation: int, now: datetime) -> dict[str, Any]:
    same = before is not None and before.get("status") == wanted.status and before.get("lastTransitionTime")
    return {
        "type": wanted.type.value,
        "status": wanted.status,
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and same else stamp(now),
        "reason": wanted.reason.value,
        "message": shortened(wanted.message, MESSAGE_LIMIT),
    }


def find(status: Mapping[str, Any], type_: ConditionType) -> Mapping[str, Any] | None:
    """A condition of a status, or None."""
    return next((c for c in status.get("conditions", ()) if c.get("type") == type_.value), None)


def is_true(status: Mapping[str, Any], type_: ConditionType) -> bool:
    """Whether a status has the condition, and it is True."""
    found = find(status, type_)
    return found is not None and found.get("status") == "True"
