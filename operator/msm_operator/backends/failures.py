"""Why an attempt ended or does not begin, from what its pods say.

Pure. Neighbours: `children` asks, decisions retry by the answer. Rules, in order: a disruption (preempted, evicted, node lost) explains
everything else; otherwise the first container to end carries the cause, since its peers die of it with an exit 1 of their own; a pod
that is gone left no exit code at all. Source: measured with the training operator 1.9.4 and Kubernetes 1.36.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from msm.errors import Exit
from msm.plan.decide import Ending, classify
from msm_operator.status.conditions import moment
from msm_operator.status.history import Ended
from msm_operator.status.reasons import Reason

Pod = Mapping[str, Any]
NEVER = datetime.max.replace(tzinfo=UTC)

DISRUPTIONS = {
    "PreemptionByScheduler": Reason.PREEMPTED,
    "PreemptionByKueue": Reason.PREEMPTED,
    "EvictionByEvictionAPI": Reason.EVICTED,
    "TerminationByKubelet": Reason.EVICTED,
    "DeletionByTaintManager": Reason.NODE_LOST,
    "DeletionByPodGC": Reason.NODE_LOST,
}
"""Reason of a pod's DisruptionTarget condition -> ours."""
IMAGE_TROUBLE = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"})
CONFIG_TROUBLE = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
BY_EXIT = {
    Exit.USER_ERROR: Reason.INVALID_INPUT,
    Exit.TRY_AGAIN: Reason.TRY_AGAIN,
    Exit.PREEMPTED: Reason.PREEMPTED,
    Exit.COMMITTED: Reason.COMMIT_MISSING,
}
SIGKILL = 137


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod does not run yet."""

    reason: Reason
    message: str


def ended(pods: Sequence[Pod], committed: bool, now: datetime) -> Ended:
    """How an attempt ended whose job is over; `now` stands in where no pod says when."""
    if committed:
        return Ended(Ending.COMMITTED, Reason.COMMITTED, "", now)
    return _disrupted(pods, now) or _by_first_container(pods, now) or _gone(now)


def _gone(now: datetime) -> Ended:
    return Ended(Ending.PREEMPTED, Reason.POD_DELETED, "its pods were deleted and left no exit code", now)


def _disrupted(pods: Iterable[Pod], now: datetime) -> Ended | None:
    for pod in pods:
        target = _condition(pod, "DisruptionTarget")
        if target is not None and target.get("status") == "True":
            reason = DISRUPTIONS.get(target.get("reason", ""), Reason.EVICTED)
            return Ended(Ending.PREEMPTED, reason, _say(pod, target.get("message", "")), moment(target.get("lastTransitionTime")) or now)
        status = pod.get("status", {})
        if status.get("reason") in ("Evicted", "NodeLost", "NodeAffinity", "Shutdown", "Terminated"):
            reason = Reason.EVICTED if status["reason"] == "Evicted" else Reason.NODE_LOST
            return Ended(Ending.PREEMPTED, reason, _say(pod, status.get("message", "")), now)
    return None


def _say(pod: Pod, message: str) -> str:
    return f"{pod['metadata']['name']}: {message or 'no further word'}"


def _by_first_container(pods: Iterable[Pod], now: datetime) -> Ended | None:
    """The earliest end; where two are in the same second, the one whose code says most."""
    over = [(state, pod) for pod in pods for state in _terminated(pod)]
    if not over:
        return None
    state, pod = min(over, key=lambda found: (moment(found[0].get("finishedAt")) or NEVER, found[0].get("exitCode") == Exit.FAULT))
    return _of_state(state, pod, moment(state.get("finishedAt")) or now)


def _terminated(pod: Pod) -> Iterator[Mapping[str, Any]]:
    status = pod.get("status", {})
    for container in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        state = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")
        is_init = container in status.get("initContainerStatuses", ())
        if state is not None and not (is_init and state.get("exitCode") == 0):
            yield state


def finished(pod: Pod) -> datetime | None:
    """When the last of a pod's containers ended; None when it does not say."""
    return max(filter(None, (moment(state.get("finishedAt")) for state in _terminated(pod))), default=None)


def _of_state(state: Mapping[str, Any], pod: Pod, when: datetime) -> Ended:
    code, message = int(state.get("exitCode", Exit.FAULT)), last_words(state.get("message", ""))
    if state.get("reason") == "OOMKilled":
        return Ended(Ending.FAULT, Reason.OUT_OF_MEMORY, _say(pod, message or "the kernel killed it for memory"), when)
    if code == SIGKILL:
        return Ended(Ending.FAULT, Reason.KILLED, _say(pod, message or "killed without a last word (exit 137)"), when)
    reason = BY_EXIT.get(Exit(code), Reason.FAULT) if code in list(Exit) else Reason.FAULT
    if reason is Reason.COMMIT_MISSING:
        message = "it ended well, but the store has no manifest"
    return Ended(classify(code, committed=False), reason, message or f"{pod['metadata']['name']} ended with code {code}", when)


def last_words(text: str) -> str:
    """The message of a termination record, or the tail of a log where there is none; one line."""
    try:
        record = json.loads(text)
    except ValueError:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else ""
    return str(record.get("message", "")) if isinstance(record, dict) else str(record)


def trouble(pods: Iterable[Pod]) -> Trouble | None:
    """Why the first pod that does not run does not."""
    return next((found for pod in pods if (found := _trouble(pod)) is not None), None)


def _trouble(pod: Pod) -> Trouble | None:
    status = pod.get("status", {})
    if status.get("phase") not in (None, "Pending"):
        return None
    for container in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        waiting = container.get("state", {}).get("waiting", {})
        said = f"{container.get('image', '')}: {waiting.get('message') or waiting.get('reason', '')}"
        if waiting.get("reason") in IMAGE_TROUBLE:
            return Trouble(Reason.IMAGE_PULL, said)
        if waiting.get("reason") in CONFIG_TROUBLE:
            return Trouble(Reason.CONTAINER_CONFIG, waiting.get("message") or waiting["reason"])
    scheduled = _condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return Trouble(Reason.UNSCHEDULABLE, scheduled.get("message", "no node fits"))
    if scheduled is not None and scheduled.get("reason") == "SchedulingGated":
        return Trouble(Reason.QUEUED, "its pods are gated")
    return None


def _condition(pod: Pod, type_: str) -> Mapping[str, Any] | None:
    return next((c for c in pod.get("status", {}).get("conditions", ()) if c.get("type") == type_), None)
