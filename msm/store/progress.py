"""How far an attempt is, and who owns a fingerprint that several executors want.

Neighbours: attempts write `progress.json`, executors and the operator read it before they start. Pure but for `read_progress`. Invariant:
ownership is advice, the manifest decides; a wrong answer here costs work, never a result. Names follow Kubeflow Trainer's `trainerStatus`.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from msm.store.objects import ObjectNotFound, ObjectStore

PROGRESS_FILE = "progress.json"
MISSED_BEATS = 3
"""After this many beats without a sign of life another owner takes over."""

_log = logging.getLogger(__name__)


class Progress(BaseModel):
    """One heartbeat of one attempt. `percentage` is 0 to 100; `ended` says that no further beat will come."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False)

    attempt: str
    heartbeat: AwareDatetime
    step: int = 0
    total_steps: int | None = None
    percentage: float = 0.0
    estimated_remaining_seconds: float | None = None
    metrics: dict[str, float] = {}
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Follow:
    """Somebody else is at it: watch `attempt` and the manifest."""

    attempt: str


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Somebody was at it and is silent: start, from the newest checkpoint; `attempt` is the one that fell silent last."""

    attempt: str


@dataclass(frozen=True, slots=True)
class Own:
    """Nobody else is or was at it."""


Ownership = Follow | TakeOver | Own


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a watcher saw of another attempt.

    Its last heartbeat, for how many of *our* seconds it has stood, and whether we ever saw it change.
    """

    heartbeat: datetime
    unchanged_seconds: float
    moved: bool


_NOTHING_SEEN: Mapping[str, Sighting] = MappingProxyType({})


def read_progress(store: ObjectStore, kind: str, fingerprint: str) -> list[Progress]:
    """The last heartbeat of every attempt at a fingerprint, oldest attempt first; unreadable ones are left out with a warning."""
    prefix = f"{kind}/{fingerprint}/attempts/"
    keys = sorted(found.key for found in store.list(prefix) if found.key.count("/") == 4 and found.key.endswith(f"/{PROGRESS_FILE}"))
    return [progress for key in keys if (progress := parse_progress(store, key)) is not None]


def parse_progress(store: ObjectStore, key: str) -> Progress | None:
    """The heartbeat under `key`; None when it is gone or of a form that this version does not know, since it is only advice."""
    try:
        return Progress.model_validate_json(store.get(key))
    except ObjectNotFound:
        return None
    except ValidationError:
        _log.warning("%s is not a heartbeat that this version can read; its attempt is not followed", key)
        return None


def watch(seen: Mapping[str, tuple[Sighting, float]], others: Iterable[Progress], monotonic: float) -> dict[str, tuple[Sighting, float]]:
    """One more look at the others: attempt -> (sighting, monotonic second at which its present heartbeat was first seen).

    Start with `{}` and hand each result to the next look; hand `sightings(result)` to `decide_ownership`.
    """
    return {progress.attempt: _look(seen.get(progress.attempt), progress, monotonic) for progress in others}


def _look(before: tuple[Sighting, float] | None, progress: Progress, monotonic: float) -> tuple[Sighting, float]:
    if before is None:
        return Sighting(progress.heartbeat, 0.0, moved=False), monotonic
    sighting, since = before
    if sighting.heartbeat != progress.heartbeat:
        return Sighting(progress.heartbeat, 0.0, moved=True), monotonic
    return Sighting(progress.heartbeat, monotonic - since, sighting.moved), since


def sightings(watched: Mapping[str, tuple[Sighting, float]]) -> dict[str, Sighting]:
    """Attempt -> what was seen of it."""
    return {attempt: sighting for attempt, (sighting, _) in watched.items()}


def is_alive(progress: Progress, now: datetime, beat_interval: float, seen: Sighting | None = None) -> bool:
    """Whether an attempt still beats (`beat_interval` in seconds).

    What we saw ourselves goes before what clocks say: a heartbeat that moved under our eyes is alive however wrong its hour, and one that
    stood still for three of our beats is dead even when it lies in the future. Only at first sight the hours are compared, and then a
    heartbeat from the future is believed until it has been watched.
    """
    patience = MISSED_BEATS * beat_interval
    if progress.ended:
        return False
    if seen is not None and seen.heartbeat == progress.heartbeat and (seen.moved or seen.unchanged_seconds >= patience):
        return seen.unchanged_seconds < patience
    return (now - progress.heartbeat).total_seconds() < patience


def decide_ownership(
    now: datetime, others: Collection[Progress], beat_interval: float, seen: Mapping[str, Sighting] = _NOTHING_SEEN
) -> Ownership:
    """Whether to start an attempt at a fingerprint beside `others`, and from whom it would take over."""
    alive = [progress.attempt for progress in others if is_alive(progress, now, beat_interval, seen.get(progress.attempt))]
    if alive:
        return Follow(min(alive))
    if others:
        return TakeOver(max(others, key=lambda progress: (progress.heartbeat, progress.attempt)).attempt)
    return Own()


class TwinMove(StrEnum):
    """What an attempt that has sent its first heartbeat does before it works."""

    WORK = "work"
    WAIT = "wait"
    STEP_BACK = "step back"


def decide_twins(own_attempt: str, alive: Collection[str], patient: bool) -> TwinMove:
    """What an attempt does that sees `alive` others, when two executors have started at once.

    A younger one steps back at once. The older one waits for that while it is `patient`, and then steps back itself: a younger one that
    still beats saw nobody when it looked, and is at work. So at most one of those that beat before they looked works.
    """
    if not alive:
        return TwinMove.WORK
    return TwinMove.WAIT if patient and own_attempt < min(alive) else TwinMove.STEP_BACK
