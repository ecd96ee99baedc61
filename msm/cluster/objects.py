"""Typed views of an MSMRun as the API server gives it; the dict stays what it is, so that a newer operator's fields do no harm.

Pure. Neighbours: `runs` returns them, `waiting` and the command line read them. Invariant: every accessor answers for an object without a
status, which is what a run is until the operator has seen it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

AVAILABILITY = ("StoreAvailable", "TrainingAvailable", "ServingAvailable", "TrackingAvailable")
"""Condition types that say how the things outside are."""


class Standing(StrEnum):
    """Where a run stands, from its conditions."""

    NEW = "New"
    RESOLVING = "Resolving"
    REFUSED = "Refused"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


TOLD_BY = {
    Standing.SUCCEEDED: "Succeeded",
    Standing.FAILED: "Failed",
    Standing.SUSPENDED: "Suspended",
    Standing.RUNNING: "Progressing",
}
"""Standing -> the condition that says why; Accepted where none is named."""
OVER = (Standing.SUCCEEDED, Standing.FAILED)


@dataclass(frozen=True, slots=True)
class ConditionView:
    """One condition; `current` is whether it speaks of the spec as it is now."""

    type: str
    status: str
    reason: str
    message: str
    current: bool

    @property
    def words(self) -> str:
        """Reason and message."""
        return f"{self.reason}: {self.message}" if self.message else self.reason


@dataclass(frozen=True, slots=True)
class RunObject:
    """One MSMRun."""

    raw: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.raw["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.raw["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        """The API server's uid."""
        return str(self.raw["metadata"].get("uid", ""))

    @property
    def version(self) -> str:
        """Changes with every write."""
        return str(self.raw["metadata"].get("resourceVersion", ""))

    @property
    def is_deleting(self) -> bool:
        """Whether it is on its way out."""
        return "deletionTimestamp" in self.raw["metadata"]

    @property
    def spec(self) -> Mapping[str, Any]:
        """What is wanted."""
        return self.raw.get("spec") or {}

    @property
    def wanted(self) -> tuple[object, ...]:
        """Everything that a user writes: spec, labels, annotations."""
        metadata = self.raw["metadata"]
        return self.spec, metadata.get("labels") or {}, metadata.get("annotations") or {}

    @property
    def status(self) -> Mapping[str, Any]:
        """What the operator says; empty until it has seen the run."""
        return self.raw.get("status") or {}

    @property
    def record(self) -> str | None:
        """Its identity in the store: documents are below `runs/<record>/`; None until it is accepted."""
        return self.status.get("run")

    @property
    def plan_digest(self) -> str | None:
        """SHA-256 of the frozen plan; None until there is one."""
        return (self.status.get("plan") or {}).get("digest")

    @property
    def is_suspended(self) -> bool:
        """Whether its spec asks for suspension."""
        return bool(self.spec.get("suspend"))

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Unfinished stages of which there is something to say."""
        return self.status.get("stages") or ()

    def condition(self, type_: str) -> ConditionView | None:
        """The condition of that type, if the operator has set it."""
        found = next((c for c in self.status.get("conditions") or () if c.get("type") == type_), None)
        if found is None:
            return None
        observed, generation = found.get("observedGeneration"), self.raw["metadata"].get("generation")
        current = observed is None or generation is None or observed >= generation
        return ConditionView(type_, str(found.get("status")), str(found.get("reason", "")), str(found.get("message", "")), current)

    def is_true(self, type_: str) -> bool:
        """Whether a condition is there and holds."""
        found = self.condition(type_)
        return found is not None and found.status == "True"

    @property
    def standing(self) -> Standing:
        """Where it stands."""
        accepted = self.condition("Accepted")
        for type_, standing in (("Succeeded", Standing.SUCCEEDED), ("Failed", Standing.FAILED)):
            if self.is_true(type_):
                return standing
        if accepted is None:
            return Standing.NEW
        if accepted.status != "True":
            return Standing.REFUSED if accepted.status == "False" and accepted.current else Standing.RESOLVING
        return Standing.SUSPENDED if self.is_true("Suspended") else Standing.RUNNING

    @property
    def why(self) -> str:
        """Why it stands there: the words of the condition that decides it."""
        told = {
            Standing.SUCCEEDED: "Succeeded",
            Standing.FAILED: "Failed",
            Standing.SUSPENDED: "Suspended",
            Standing.RUNNING: "Progressing",
        }
        found = self.condition(told.get(self.standing, "Accepted"))
        return found.words if found is not None else ""

    @property
    def troubles(self) -> tuple[str, ...]:
        """What outside is not as it should be, in words."""
        found = (self.condition(type_) for type_ in AVAILABILITY)
        return tuple(f"{c.type} is {c.status}: {c.words}" for c in found if c is not None and c.status != "True")
