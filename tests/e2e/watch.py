"""A run on the cluster, watched as `kubectl get msmrun -w` shows it, with the pods that come and go.

Invariant: only what was seen is kept, in the order it was seen. Cost: two requests a second.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.cluster.control_plane.client import Object
from tests.e2e.cluster import RUNS, Cluster, condition
from tests.e2e.record import Broken

POLL_SECONDS = 0.5
TRAINED = ("midtrain", "finetune")
"""Kinds of stages that train; they run as a PyTorchJob, all others as a Job."""


@dataclass(slots=True)
class Seen:
    """What was seen of a run."""

    run: Object
    percentages: list[int] = field(default_factory=list)
    remaining: list[int] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    pods: dict[str, Object] = field(default_factory=dict)
    """The last that was seen of each pod, by name."""
    conditions: set[str] = field(default_factory=set)
    """`Type=Status Reason`, every one that was ever there."""
    first_running: float | None = None
    """Seconds from the apply to the first pod that runs."""
    first_trainer: float | None = None
    """Seconds from the apply to the first pod of a training, which is made as soon as its inputs are committed."""
    first_step: float | None = None
    """Seconds from that pod to the first progress of a training in the status; progress is reported later than it is made."""

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return bool(condition(self.run, "Succeeded").get("status") == "True")

    @property
    def over(self) -> bool:
        """Whether it ended."""
        return any(condition(self.run, name).get("status") == "True" for name in ("Succeeded", "Failed"))

    def owners(self) -> dict[str, set[str]]:
        """Kind of stage -> kinds of object that its pods belong to."""
        found: dict[str, set[str]] = {}
        for pod in self.pods.values():
            kind = pod["metadata"].get("labels", {}).get("modelspec.dev/stage-kind", "")
            found.setdefault(kind, set()).update(owner["kind"] for owner in pod["metadata"].get("ownerReferences", ()))
        return found

    def why(self) -> str:
        """What its conditions say, for a run that did not end well."""
        said = self.run.get("status", {}).get("conditions", ())
        return "; ".join(f"{c['type']}={c['status']} {c.get('reason', '')}: {c.get('message', '')}" for c in said)


def watch(made: Cluster, name: str, limit: float, look: Callable[[Seen], None] = lambda seen: None, namespace: str = RUNS) -> Seen:
    """Follow a run to its end; `look` is called each time, and may disturb.

    Raises:
        Broken: it has not ended in time, or is gone.
    """
    began = time.monotonic()
    seen = Seen({})
    while not seen.over:
        if time.monotonic() - began > limit:
            raise Broken(f"{name} has not ended after {limit:.0f} s: {seen.why()}")
        observe(made, name, seen, time.monotonic() - began, namespace)
        look(seen)
        time.sleep(POLL_SECONDS)
    return seen


def observe(made: Cluster, name: str, seen: Seen, after: float, namespace: str = RUNS) -> None:
    """One look."""
    reply = made.api.request("GET", f"/apis/modelspec.dev/v1alpha1/namespaces/{namespace}/msmruns/{name}")
    if reply.status != 200:
        raise Broken(f"{name}: {reply.status} {reply.message}")
    seen.run = reply.body
    status = seen.run.get("status", {})
    _append(seen.percentages, status.get("progress", {}).get("percentage"))
    _append(seen.remaining, status.get("progress", {}).get("estimatedRemainingSeconds"))
    _append(seen.stages, status.get("stage"))
    if seen.first_step is None and seen.first_trainer is not None and any(map(_has_trained, status.get("stages", ()))):
        seen.first_step = after - seen.first_trainer
    seen.conditions |= {f"{c['type']}={c['status']} {c.get('reason', '')}" for c in status.get("conditions", ())}
    selector = f"modelspec.dev/run-uid={seen.run['metadata']['uid']}"
    pods = made.api.request("GET", f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector).body.get("items", ())
    for pod in pods:
        seen.pods[pod["metadata"]["name"]] = pod
        if seen.first_trainer is None and pod["metadata"]["labels"].get("modelspec.dev/stage-kind") in TRAINED:
            seen.first_trainer = after
        if seen.first_running is None and pod["status"].get("phase") in ("Running", "Succeeded"):
            seen.first_running = after


def _has_trained(stage: Object) -> bool:
    return stage["kind"] in TRAINED and bool(stage.get("percentage"))


def _append(found: list, value: object) -> None:  # type: ignore[type-arg]
    if value is not None and (not found or found[-1] != value):
        found.append(value)
