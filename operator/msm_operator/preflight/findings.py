"""What is to be thought of what was seen: one finding for each thing that an installation needs.

Pure. Neighbours: `__main__` and `outside` see. Invariant: a failure names the value of the chart that it is about and the next step; what
may mend itself (an image that is still being pulled) is no failure.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from msm_operator.runtime.resources import INFERENCESERVICES, PYTORCHJOBS, WORKLOADS, Resource

Level = Literal["ok", "warning", "failed"]
PATIENCE = 15.0
"""Seconds for which a pull may fail: the kubelet repeats it."""
LONG_ENOUGH = 30.0
"""Seconds after which an image that is still being pulled counts as there, and a pod without a node cannot be tried."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `about` is a value of the chart."""

    level: Level
    about: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:8}{self.about}: {self.text}"


@dataclass(frozen=True, slots=True)
class Controller:
    """A controller of others that runs need, by a kind that it brings."""

    resource: Resource
    project: str
    use: str
    install: str


CONTROLLERS: Mapping[str, Controller] = {
    "training": Controller(
        PYTORCHJOBS, "Kubeflow's training operator", "runs that train wait", "install the training operator (v1.9, with PyTorchJob)"
    ),
    "serving": Controller(
        INFERENCESERVICES, "KServe", "runs that serve a model, and EvalDeployments, wait", "install KServe (v0.15 or newer)"
    ),
    "queues": Controller(WORKLOADS, "Kueue", "runs with execution.queueName wait", "install Kueue (v0.13 or newer)"),
}


def controller_finding(name: str, served: Collection[str], required: Collection[str]) -> Finding:
    """Whether a controller's kind is served; `served` are plurals of its group."""
    one = CONTROLLERS[name]
    if one.resource.plural in served:
        return Finding("ok", f"preflight.required ({name})", f"{one.resource.kind} is served")
    missing = f"the cluster has no {one.resource.plural}.{one.resource.group} ({one.project}): {one.use}; {one.install}"
    if name in required:
        return Finding("failed", "preflight.required", f"{missing}, or take {name} out of preflight.required")
    return Finding("warning", f"preflight.required ({name})", missing)


def image_findings(pods: Iterable[Mapping[str, Any]], images: Collection[str], waited: float) -> list[Finding]:
    """What the kubelet says of images by now; those of which nothing can be said yet are left out."""
    alive = [pod for pod in pods if "deletionTimestamp" not in pod.get("metadata", {})]
    return [found for name in images if (found := _image(alive, name, waited)) is not None]


def _image(pods: list[Mapping[str, Any]], name: str, waited: float) -> Finding | None:
    about = f"images.{name}"
    if not pods:
        hint = "no pod could be made to try it; see the events of ReplicaSet msm-preflight-images (a quota, an admission policy)"
        return Finding("warning", about, hint) if waited >= LONG_ENOUGH else None
    found = [_seen(pod, name, about, waited) for pod in pods]
    return next((one for one in found if one is not None), None)


def _seen(pod: Mapping[str, Any], name: str, about: str, waited: float) -> Finding | None:
    image = next((c.get("image", "") for c in pod.get("spec", {}).get("containers", ()) if c.get("name") == name), "")
    status = next((s for s in pod.get("status", {}).get("containerStatuses") or () if s.get("name") == name), None)
    if status is None:
        return _unplaced(pod, about, image, waited)
    state = status.get("state") or {}
    if "running" in state or "terminated" in state or status.get("restartCount", 0):
        return _started(state, status, about, image)
    waiting = state.get("waiting") or {}
    reason, said = str(waiting.get("reason", "")), " ".join(str(waiting.get("message", "")).split())
    if reason in ("InvalidImageName", "ErrImageNeverPull"):
        return Finding("failed", about, f"{image}: {reason}: {said}; correct registry, repository, tag or pullPolicy")
    if reason in ("ErrImagePull", "ImagePullBackOff"):
        advice = "correct registry, repository, tag or digest, or name a Secret with its credentials in images.pullSecrets"
        return Finding("failed", about, f"{image} cannot be pulled: {said or reason}; {advice}") if waited >= PATIENCE else None
    if reason not in ("", "ContainerCreating", "PodInitializing"):
        return Finding("ok", about, f"{image} is there ({reason})")
    return Finding("ok", about, f"{image} is being pulled, nothing is wrong so far") if waited >= LONG_ENOUGH else None


def _started(state: Mapping[str, Any], status: Mapping[str, Any], about: str, image: str) -> Finding:
    ended = state.get("terminated") or (status.get("lastState") or {}).get("terminated") or {}
    if ended.get("reason") in ("StartError", "ContainerCannotRun"):
        return Finding("failed", about, f"{image} has no python to start: {ended.get('message', '')}; is it the right image?")
    return Finding("ok", about, f"{image} starts")


def _unplaced(pod: Mapping[str, Any], about: str, image: str, waited: float) -> Finding | None:
    if waited < LONG_ENOUGH:
        return None
    conditions = {c.get("type"): c for c in pod.get("status", {}).get("conditions") or ()}
    said = conditions.get("PodScheduled", {}).get("message", "")
    return Finding("warning", about, f"{image} was not tried, there is no node for its pod: {said or 'the scheduler is silent'}")


def verdict(findings: Iterable[Finding]) -> str:
    """The last line."""
    levels = [one.level for one in findings]
    failed = levels.count("failed")
    if failed:
        return f"{failed} of {len(levels)} failed: mend what is named above and repeat (preflight.enabled=false installs all the same)"
    warned = levels.count("warning")
    return "everything that runs need is there" if not warned else f"nothing that runs need is missing; {warned} to look at"
