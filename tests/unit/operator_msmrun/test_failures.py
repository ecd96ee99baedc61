"""Why an attempt ended or does not begin, from what pods and jobs say."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msm.plan.decide import Ending
from msm_operator.backends.children import Phase, newest, read_child
from msm_operator.backends.failures import ended, last_words
from msm_operator.status.reasons import Reason

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(name: str = "p-0", phase: str = "Failed", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"phase": phase, **status}}


def over(code: int, seconds: float = 0, reason: str = "", message: str = "") -> dict[str, Any]:
    return {
        "containerStatuses": [
            {
                "name": "pytorch",
                "state": {"terminated": {"exitCode": code, "finishedAt": at(seconds), "reason": reason, "message": message}},
            }
        ]
    }


def target(reason: str) -> dict[str, Any]:
    return {
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "by them", "lastTransitionTime": at(0)}]
    }


ENDINGS = {
    "the user's mistake, by its message": ([pod(**over(2, message='{"message": "bad"}'))], Ending.USER_ERROR, Reason.INVALID_INPUT, "bad"),
    "try again": ([pod(**over(75))], Ending.TRY_AGAIN, Reason.TRY_AGAIN, "75"),
    "preempted with a checkpoint": ([pod(**over(143))], Ending.PREEMPTED, Reason.PREEMPTED, ""),
    "a fault, by the tail of its log": ([pod(**over(1, message="Traceback\nKeyError: 'x'"))], Ending.FAULT, Reason.FAULT, "KeyError: 'x'"),
    "out of memory": ([pod(**over(137, reason="OOMKilled"))], Ending.FAULT, Reason.OUT_OF_MEMORY, "p-0"),
    "killed for no stated reason": ([pod(**over(137))], Ending.FAULT, Reason.KILLED, "137"),
    "ended well without a manifest": ([pod(phase="Succeeded", **over(0))], Ending.FAULT, Reason.COMMIT_MISSING, "manifest"),
    "a code that nobody defined": ([pod(**over(66))], Ending.FAULT, Reason.FAULT, "66"),
    "preempted by the scheduler, whatever the code": (
        [pod(**{**over(1), **target("PreemptionByScheduler")})],
        Ending.PREEMPTED,
        Reason.PREEMPTED,
        "by them",
    ),
    "evicted through the API": ([pod(**{**over(137), **target("EvictionByEvictionAPI")})], Ending.PREEMPTED, Reason.EVICTED, ""),
    "evicted by its kubelet, as older ones say it": (
        [pod(reason="Evicted", message="The node was low on resource: memory.")],
        Ending.PREEMPTED,
        Reason.EVICTED,
        "low on resource",
    ),
    "its node went away": ([pod(**target("DeletionByTaintManager"))], Ending.PREEMPTED, Reason.NODE_LOST, ""),
    "its pod was deleted": ([], Ending.PREEMPTED, Reason.POD_DELETED, "deleted"),
    "the first of several to end is the cause": (
        [pod("p-0", **over(1, seconds=2)), pod("p-1", **over(137, seconds=0, reason="OOMKilled"))],
        Ending.FAULT,
        Reason.OUT_OF_MEMORY,
        "p-1",
    ),
    "of two in the same second the one that says more": (
        [pod("p-0", **over(1)), pod("p-1", **over(2, message='{"message": "bad"}'))],
        Ending.USER_ERROR,
        Reason.INVALID_INPUT,
        "bad",
    ),
    "a disruption of any pod explains the others": (
        [pod("p-0", **over(1, seconds=-5)), pod("p-1", **{**over(143), **target("EvictionByEvictionAPI")})],
        Ending.PREEMPTED,
        Reason.EVICTED,
        "p-1",
    ),
    "an init container that failed": (
        [pod(initContainerStatuses=[{"name": "i", "state": {"terminated": {"exitCode": 1, "finishedAt": at(0), "message": "no dns"}}}])],
        Ending.FAULT,
        Reason.FAULT,
        "no dns",
    ),
}


@pytest.mark.parametrize(("pods", "ending", "reason", "words"), ENDINGS.values(), ids=ENDINGS)
def test_an_end_is_classed_by_what_its_pods_say(pods: list[Any], ending: Ending, reason: Reason, words: str) -> None:
    found = ended(pods, committed=False, now=NOW)
    assert (found.ending, found.reason) == (ending, reason)
    assert words in found.message


def test_an_artifact_in_the_store_outweighs_whatever_the_pods_say() -> None:
    assert ended([pod(**over(137))], committed=True, now=NOW).ending is Ending.COMMITTED


statuses = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
        "reason": st.sampled_from(["Evicted", "NodeLost", "x"]),
        "conditions": st.lists(st.fixed_dictionaries({"type": st.sampled_from(["DisruptionTarget", "PodScheduled"])}), max_size=2),
        "containerStatuses": st.lists(
            st.fixed_dictionaries(
                {"name": st.just("pytorch")},
                optional={
                    "state": st.sampled_from([{}, {"waiting": {}}, {"terminated": {}}, {"terminated": {"exitCode": 3, "finishedAt": "x"}}])
                },
            ),
            max_size=2,
        ),
    },
)


@settings(max_examples=40, deadline=None)
@given(st.lists(statuses, max_size=3))
def test_every_set_of_pods_has_an_explanation(found: list[dict[str, Any]]) -> None:
    assert ended([{"metadata": {"name": "p"}, "status": s} for s in found], committed=False, now=NOW).reason in Reason


@settings(max_examples=40, deadline=None)
@given(st.text())
def test_any_last_words_are_one_line_or_none(text: str) -> None:
    assert "\n" not in last_words(text).strip() or text.lstrip().startswith(("{", '"'))


def job(kind: str = "PyTorchJob", condition: str = "", age: float = 0, suspend: bool = False, number: int = 1) -> dict[str, Any]:
    spec: dict[str, Any] = {"runPolicy": {"suspend": suspend}} if kind == "PyTorchJob" else {"suspend": suspend}
    status = {"conditions": [{"type": condition, "status": "True", "lastTransitionTime": at(-age)}]} if condition else {}
    labels = {"modelspec.dev/stage": "abc", "modelspec.dev/attempt": str(number)}
    return {
        "kind": kind,
        "metadata": {"name": "j", "uid": "u", "labels": labels, "creationTimestamp": at(-age)},
        "spec": spec,
        "status": status,
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"containerStatuses": [{"name": "pytorch", "image": "i:1", "state": {"waiting": {"reason": reason, "message": message}}}]}


UNSCHEDULABLE = {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}]}
CHILDREN: dict[str, tuple[dict[str, Any], list[dict[str, Any]], Phase, Reason | None]] = {
    "just made": (job(), [], Phase.PENDING, None),
    "held by Kueue": (job(suspend=True), [], Phase.QUEUED, Reason.QUEUED),
    "a Job held by Kueue": (job("Job", suspend=True, age=3600), [], Phase.QUEUED, Reason.QUEUED),
    "nobody takes it up": (job(age=61), [], Phase.PENDING, Reason.SILENT),
    "taken up, but its pods are refused": (job(condition="Created", age=61), [], Phase.PENDING, Reason.PODS_MISSING),
    "a Job whose pods are refused": (job("Job", age=61), [], Phase.PENDING, Reason.PODS_MISSING),
    "no node fits": (job(), [pod(phase="Pending", **UNSCHEDULABLE)], Phase.PENDING, Reason.UNSCHEDULABLE),
    "the image cannot be pulled": (job(), [pod(phase="Pending", **waiting("ImagePullBackOff"))], Phase.PENDING, Reason.IMAGE_PULL),
    "a secret is missing": (job(), [pod(phase="Pending", **waiting("CreateContainerConfigError"))], Phase.PENDING, Reason.CONTAINER_CONFIG),
    "at work": (job(condition="Running"), [pod(phase="Running")], Phase.RUNNING, None),
    "over, but its pods have not been seen to end": (job(condition="Failed", age=2), [pod(phase="Running")], Phase.RUNNING, None),
    "over": (job(condition="Failed"), [pod(**over(1))], Phase.ENDED, None),
    "over without a trace": (job(condition="Failed", age=11), [], Phase.ENDED, None),
    "its pods ended and nobody says so of the job": (job(condition="Running"), [pod(**over(1, seconds=-40))], Phase.ENDED, None),
}


@pytest.mark.parametrize(("obj", "pods", "phase", "reason"), CHILDREN.values(), ids=CHILDREN)
def test_where_an_attempt_stands(obj: dict[str, Any], pods: list[dict[str, Any]], phase: Phase, reason: Reason | None) -> None:
    child = read_child(obj, pods, NOW)
    assert child is not None
    assert child.phase is phase
    assert (child.trouble.reason if child.trouble else None) is reason
    assert (child.ended is not None) == (phase is Phase.ENDED)


def test_while_pods_may_have_been_missed_an_attempt_is_not_taken_for_deleted() -> None:
    child = read_child(job(condition="Failed", age=3600), [], NOW, pods_known=False)
    assert child is not None and child.ended is None
    seen = read_child(job(condition="Failed", age=3600), [pod(**over(2))], NOW, pods_known=False)
    assert seen is not None and seen.ended is not None and seen.ended.ending is Ending.USER_ERROR


def test_an_object_without_our_labels_is_nobodys_attempt() -> None:
    assert read_child({"kind": "Job", "metadata": {"name": "x", "uid": "u"}}, [], NOW) is None


def test_of_several_attempts_the_newest_counts() -> None:
    children = [c for n in (2, 11, 9) if (c := read_child(job(number=n), [], NOW)) is not None]
    assert newest(children)["abc"].number == 11
