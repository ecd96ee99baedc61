"""What the store says of a run: which artifacts are there, how far attempts are, who else is at work. Blocking, for a thread.

Neighbours: `msmrun` calls it between reading its caches and deciding. Invariant: a manifest that was found is known for good; one that is
missing is asked for again only when an attempt has ended or a stage could start. Cost: one GET for each such stage, one LIST for each
stage that could start or is due to be polled.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import ValidationError

from msm.api import MSMRun
from msm.clock import Clock
from msm.local.records import load_status
from msm.local.status import State
from msm.plan import Stage
from msm.stages.contract import HEARTBEAT_SECONDS
from msm.store import ObjectStore
from msm.store.artifacts import read_manifest
from msm.store.manifest import Manifest
from msm.store.progress import Progress, Sighting, is_alive, read_progress, sightings, watch
from msm_operator.controllers.decide_stages import candidates
from msm_operator.controllers.observed import Commit, Observed, under_way

POLL_SECONDS = 10.0
"""Between two looks at the progress of a stage under way."""


@dataclass(slots=True)
class Memory:
    """What is remembered of a run between passes, for speed alone: losing it costs reading the store again."""

    committed: dict[str, Commit] = field(default_factory=dict)
    looked: bool = False
    own: frozenset[str] | None = None
    """Stages that the run's records call its own work, whose children may be gone; None before they are read."""
    progress: dict[str, Progress] = field(default_factory=dict)
    polled: float = float("-inf")
    watched: dict[str, dict[str, tuple[Sighting, float]]] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)
    """Stages without their object -> monotonic second at which that was first seen."""
    written: float = float("-inf")
    """Monotonic second of the last write of the status."""
    asked: float = float("inf")
    """Monotonic second of the first pass over it."""
    parsed: tuple[int, MSMRun] | None = None
    """The run as it was parsed, with the generation that was."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which run looks: where its records lie, and when it was asked for: what was there before is re-used."""

    store: ObjectStore
    id: str
    made: datetime


def look(observed: Observed, memory: Memory, asked: Asked, clock: Clock) -> Observed:
    """The observation with what the store says now.

    Raises:
        TryAgain: the store does not answer; IntegrityError: an artifact is damaged.
    """
    store, checked = asked.store, set[str]()
    _find(_to_check(observed, memory), observed, memory, asked, checked)
    memory.looked = True
    seen = replace(observed, committed=dict(memory.committed))
    while _find(candidates(seen), seen, memory, asked, checked):
        seen = replace(seen, committed=dict(memory.committed))
    _poll(seen, memory, store, clock)
    foreign = {stage.fingerprint: owner for stage in candidates(seen) if (owner := _foreign(stage, memory, store, clock)) is not None}
    return replace(seen, progress=dict(memory.progress), foreign=foreign)


def _to_check(observed: Observed, memory: Memory) -> Iterable[Stage]:
    """At first all; then those whose attempt has ended or cannot be found."""
    if not memory.looked:
        return observed.plan.stages
    return [stage for stage in observed.plan.stages if _may_be_done(observed, stage)]


def _may_be_done(observed: Observed, stage: Stage) -> bool:
    history, child = observed.history(stage), observed.child(stage)
    if child is None:
        return history.active > history.attempts
    return child.ended is not None or child.has_ended_pods


def _find(stages: Iterable[Stage], observed: Observed, memory: Memory, asked: Asked, checked: set[str]) -> bool:
    """Note the artifacts that are there; whether there are new ones. Each is asked for once a look: `checked`."""
    found = False
    for stage in stages:
        if stage.fingerprint in memory.committed or stage.fingerprint in checked:
            continue
        checked.add(stage.fingerprint)
        manifest = read_manifest(asked.store, stage.kind, stage.fingerprint)
        if manifest is not None:
            seconds = (manifest.ended - manifest.started).total_seconds()
            memory.committed[stage.fingerprint] = Commit(manifest.ended, seconds, _is_reused(manifest, observed, memory, stage, asked))
            found = True
    return found


def _is_reused(manifest: Manifest, observed: Observed, memory: Memory, stage: Stage, asked: Asked) -> bool:
    """Whether an artifact was there before the run, or the run has never tried to make it: not now, and by its records not before."""
    history = observed.history(stage)
    if manifest.ended < asked.made:
        return True
    if observed.child(stage) is not None or max(history.attempts, history.active) > 0:
        return False
    if memory.own is None:
        memory.own = _own(asked)
    return stage.fingerprint not in memory.own


def _own(asked: Asked) -> frozenset[str]:
    """What the run's records call its own work."""
    try:
        kept = load_status(asked.store, asked.id)
    except ValidationError:
        return frozenset()  # another version's
    return frozenset(s.fingerprint for s in kept.stages if s.state is State.DONE and not s.reused) if kept is not None else frozenset()


def _poll(observed: Observed, memory: Memory, store: ObjectStore, clock: Clock) -> None:
    """How far attempts are, every few seconds, and at once for those that have ended: their last beat has the step they reached."""
    due = clock.monotonic() - memory.polled >= POLL_SECONDS
    at_work = [stage for stage in observed.plan.stages if _is_polled(observed, stage, due)]
    for stage in at_work:
        beats = read_progress(store, stage.kind, stage.fingerprint)
        if beats:
            memory.progress[stage.fingerprint] = beats[-1]
    if due and at_work:
        memory.polled = clock.monotonic()
    _forget(memory.progress, observed)


def _is_polled(observed: Observed, stage: Stage, due: bool) -> bool:
    if stage.fingerprint in observed.committed:
        return False
    child = under_way(observed.history(stage), observed.child(stage))
    return child is not None and (child.ended is not None or (due and child.has_pods))


def _forget(progress: dict[str, Progress], observed: Observed) -> None:
    for fingerprint in [f for f in progress if f in observed.committed]:
        del progress[fingerprint]


def _foreign(stage: Stage, memory: Memory, store: ObjectStore, clock: Clock) -> str | None:
    """The oldest living attempt at a stage that this run is not at work on."""
    beats = read_progress(store, stage.kind, stage.fingerprint)
    if not beats:
        return None
    seen = memory.watched[stage.fingerprint] = watch(memory.watched.get(stage.fingerprint, {}), beats, clock.monotonic())
    known: Mapping[str, Sighting] = sightings(seen)
    alive = [b.attempt for b in beats if is_alive(b, clock.now(), HEARTBEAT_SECONDS, known.get(b.attempt))]
    return min(alive, default=None)


def is_idle(observed: Observed, memory: Memory, clock: Clock) -> bool:
    """Whether there is nothing to ask the store in this pass."""
    if not memory.looked or any(_may_be_done(observed, s) for s in _open(observed)) or candidates(observed):
        return False
    return clock.monotonic() - memory.polled < POLL_SECONDS


def _open(observed: Observed) -> Collection[Stage]:
    return [stage for stage in observed.plan.stages if stage.fingerprint not in observed.committed]
