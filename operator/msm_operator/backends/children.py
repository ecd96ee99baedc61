"""An attempt's object and its pods, read back: queued, pending, running or ended, and why.

Pure. Neighbours: `jobs` rendered it and knows its kind, `failures` explains it, decisions act on it. Invariant: the job's own conditions
only say *that* it is over, its pods say why; a job whose pods have not been seen to end yet is not over for us until they had time to.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from msm_operator.backends import failures
from msm_operator.backends.backend import Backend
from msm_operator.backends.failures import Pod, Trouble
from msm_operator.backends.jobs import BY_KIND
from msm_operator.backends.names import ATTEMPT, STAGE
from msm_operator.runtime.resources import Resource
from msm_operator.status.conditions import moment
from msm_operator.status.history import Ended
from msm_operator.status.reasons import Reason

LONG_AGO = datetime.min.replace(tzinfo=UTC)
POD_LAG = timedelta(seconds=10)
"""How long the cache of pods may be behind that of jobs."""
SILENCE = timedelta(seconds=60)
"""How long a job may have no condition, or no pods, before that is said."""


class Phase(StrEnum):
    """Where an attempt's object stands."""

    QUEUED = "Queued"
    PENDING = "Pending"
    RUNNING = "Running"
    ENDED = "Ended"


@dataclass(frozen=True, slots=True)
class Child:
    """An attempt in the cluster. `stage` is the beginning of its fingerprint; `ended` is set when the phase is Ended."""

    resource: Resource
    name: str
    uid: str
    stage: str
    number: int
    phase: Phase
    made: datetime
    deleting: bool = False
    ended: Ended | None = None
    trouble: Trouble | None = None
    has_pods: bool = False
    has_ended_pods: bool = False
    silent: bool = False
    """Nobody took the object up for a minute."""


def read_child(obj: Mapping[str, Any], pods: Sequence[Pod], now: datetime, pods_known: bool = True) -> Child | None:
    """A job or PyTorchJob of ours with its pods; None for an object without our labels. `pods_known`: none was missed for a while."""
    metadata = obj["metadata"]
    labels = metadata.get("labels", {})
    if STAGE not in labels or not str(labels.get(ATTEMPT, "")).isdecimal():
        return None
    made = moment(metadata.get("creationTimestamp")) or now
    backend = BY_KIND[obj["kind"]]
    over = _over(obj, backend) or _all_over(pods, now)
    end = _end(over, pods, now, pods_known) if over is not None else None
    phase = Phase.ENDED if end is not None else _phase(obj, backend, pods)
    return Child(
        resource=backend.resource,
        name=metadata["name"],
        uid=metadata["uid"],
        stage=labels[STAGE],
        number=int(labels[ATTEMPT]),
        phase=phase,
        made=made,
        deleting="deletionTimestamp" in metadata,
        ended=end,
        trouble=_trouble(obj, backend, pods, phase, now - made),
        has_pods=bool(pods),
        has_ended_pods=any(pod.get("status", {}).get("phase") in ("Succeeded", "Failed") for pod in pods),
        silent=phase is Phase.PENDING and not pods and not _conditions(obj) and now - made > SILENCE,
    )


def _conditions(obj: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = obj.get("status", {}).get("conditions") or ()
    return found


def _is(obj: Mapping[str, Any], type_: str) -> Mapping[str, Any] | None:
    return next((c for c in _conditions(obj) if c.get("type") == type_ and c.get("status") == "True"), None)


def _over(obj: Mapping[str, Any], backend: Backend) -> datetime | None:
    """Since when the job is over; None while it is not."""
    for type_ in backend.ends:
        if (condition := _is(obj, type_)) is not None:
            return moment(condition.get("lastTransitionTime")) or LONG_AGO
    return None


def _all_over(pods: Sequence[Pod], now: datetime) -> datetime | None:
    """Since when every pod has ended, where nobody says it of the job: its controller may be down."""
    if not pods or any(pod.get("status", {}).get("phase") not in ("Succeeded", "Failed") for pod in pods):
        return None
    last = max(failures.finished(pod) or now for pod in pods)
    return last if now - last > SILENCE / 2 else None


def _end(over: datetime, pods: Sequence[Pod], now: datetime, pods_known: bool) -> Ended | None:
    """How it ended, once the pods say so or had time to."""
    end = failures.ended(pods, committed=False, now=now)
    had_time = pods_known and now - over >= POD_LAG
    return None if end.reason is Reason.POD_DELETED and not had_time else end


def _phase(obj: Mapping[str, Any], backend: Backend, pods: Iterable[Pod]) -> Phase:
    if backend.is_held(obj):
        return Phase.QUEUED
    running = any(pod.get("status", {}).get("phase") in ("Running", "Succeeded", "Failed") for pod in pods)
    return Phase.RUNNING if running else Phase.PENDING


def _trouble(obj: Mapping[str, Any], backend: Backend, pods: Sequence[Pod], phase: Phase, age: timedelta) -> Trouble | None:
    if phase is Phase.QUEUED:
        return Trouble(Reason.QUEUED, "Kueue has not admitted it")
    if phase is Phase.ENDED:
        return None
    if not pods and age > SILENCE:
        return _without_pods(obj, backend)
    return failures.trouble(pods)


def _without_pods(obj: Mapping[str, Any], backend: Backend) -> Trouble:
    """Pods that are refused and a controller that is away look alike where the controller writes no status: the events tell them apart."""
    look = f"no pods were made; `kubectl describe {obj['kind'].lower()} {obj['metadata']['name']}` says why"
    if not _conditions(obj) and backend.silence:
        return Trouble(Reason.SILENT, f"{look}, a ResourceQuota for one; where it has no events, {backend.silence}")
    return Trouble(Reason.PODS_MISSING, look)


def newest(children: Iterable[Child]) -> dict[str, Child]:
    """Stage -> its child with the highest number."""
    found: dict[str, Child] = {}
    for child in children:
        if child.stage not in found or found[child.stage].number < child.number:
            found[child.stage] = child
    return found
