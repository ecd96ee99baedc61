"""The pods of a run's stages and what they print.

Over `connection`. Neighbours: `labels` says how the operator marks them. Invariant: reads only; a pod whose log cannot be had says why in
its place, since the others' may. Cost: one list and a request a pod.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msm.cluster import labels
from msm.cluster.connection import Requests
from msm.cluster.objects import RunObject
from msm.cluster.refusals import error_of, refusal_of
from msm.cluster.runs import REFUSED


@dataclass(frozen=True, slots=True)
class StagePod:
    """One pod of an attempt. `stage` is the stage's name, `fingerprint` the beginning of its fingerprint."""

    name: str
    namespace: str
    stage: str
    kind: str
    fingerprint: str
    attempt: int
    phase: str


@dataclass(frozen=True, slots=True)
class PodLog:
    """What a pod printed, or in `why_not` the reason that it cannot be had."""

    pod: StagePod
    text: str
    why_not: str = ""


def stage_pods(requests: Requests, run: RunObject) -> list[StagePod]:
    """Pods of a run's stages that are still there, by stage, attempt and name.

    Raises:
        UserError: they may not be listed; TryAgain: the server does not answer.
    """
    query = {"labelSelector": f"{labels.RUN_UID}={run.uid},{labels.STAGE}"}
    answer = requests.send("GET", f"/api/v1/namespaces/{run.namespace}/pods", query=query)
    if answer.status >= REFUSED:
        raise error_of(answer, requests.place)
    found = [_pod(item) for item in answer.document().get("items") or ()]
    return sorted(found, key=lambda pod: (pod.stage, pod.attempt, pod.name))


def _pod(item: Mapping[str, Any]) -> StagePod:
    metadata = item["metadata"]
    marks: Mapping[str, str] = metadata.get("labels") or {}
    fingerprint, attempt = marks.get(labels.STAGE, ""), marks.get(labels.ATTEMPT, "")
    kind = marks.get(labels.KIND, "")
    name = (metadata.get("annotations") or {}).get(labels.STAGE_NAME) or f"{kind} {fingerprint}"
    phase = str((item.get("status") or {}).get("phase", ""))
    number = int(attempt) if attempt.isdecimal() else 0
    return StagePod(metadata["name"], metadata["namespace"], name, kind, fingerprint, number, phase)


def pod_log(requests: Requests, pod: StagePod) -> PodLog:
    """What the stage program in a pod printed so far.

    Raises:
        TryAgain: the API server does not answer.
    """
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/log"
    answer = requests.send("GET", path, query={"container": labels.CONTAINER})
    if answer.status >= REFUSED:
        return PodLog(pod, "", refusal_of(answer).message)
    return PodLog(pod, answer.body.decode("utf-8", "replace"))
