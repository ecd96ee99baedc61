"""The tiny run again while things are taken away: a training pod, kubelet, the operator's leader, the S3 server and MLflow.

Invariant: it has a prefix of the store to itself, so it makes everything anew, and must end with the bytes of the run that nobody
disturbed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.cluster.control_plane.client import Object
from tests.e2e.cluster import BUCKET, SYSTEM, Cluster
from tests.e2e.embedded import Outcome, outcome
from tests.e2e.inputs import tiny_run
from tests.e2e.record import Record
from tests.e2e.tiny import TWO, machines
from tests.e2e.user import apply
from tests.e2e.watch import Seen, watch

LIMIT_SECONDS = 1200.0
AWAY_SECONDS = 60.0
PREFIX = "platform/disturbed"
STORES = ("s3", "mlflow")


@dataclass(slots=True)
class Disturber:
    """Takes one thing away after the other, each when what it is to hit is at work."""

    made: Cluster
    record: Record
    done: list[str] = field(default_factory=list)
    _killed: str = ""
    _back: float | None = None
    """When the stores are to come back."""

    def look(self, seen: Seen) -> None:
        """Called at each look at the run."""
        if self._back is not None:
            if time.monotonic() > self._back:
                self._scale(1)
                self._back = None
            return
        for name, hits, act in self._plan():
            if name in self.done:
                continue
            if pods := [pod for pod in seen.pods.values() if _is_at_work(pod) and hits(pod) and not self._was_killed(pod)]:
                self.record.check(f"disturbed: {name}", act(pods[0]), pods[0]["metadata"]["name"])
                self.done.append(name)
            return

    def _plan(self) -> list[tuple[str, Callable[[Object], bool], Callable[[Object], bool]]]:
        return [
            ("a training pod killed", lambda pod: _kind(pod) == "midtrain" and _age(pod) > 15, self._kill_pod),
            ("kubelet killed", lambda pod: _kind(pod) == "midtrain" and _age(pod) > 8, self._kill_kubelet),
            ("the operator's leader killed", lambda pod: _kind(pod) == "finetune", self._kill_leader),
            ("S3 and MLflow stopped for a minute", lambda pod: _kind(pod) == "finetune" and _age(pod) > 8, self._stop_stores),
        ]

    def _was_killed(self, pod: Object) -> bool:
        """Whether a pod is of the attempt that was killed; its peers live on for a moment."""
        return any(owner["uid"] == self._killed for owner in pod["metadata"].get("ownerReferences", ()))

    def _kill_pod(self, pod: Object) -> bool:
        self._killed = pod["metadata"]["ownerReferences"][0]["uid"]
        return self.made.node.kill_pod(pod) > 0

    def _kill_kubelet(self, pod: Object) -> bool:
        self.made.node.kill("kubelet")
        return True

    def _kill_leader(self, pod: Object) -> bool:
        leader = leading(self.made)
        return leader is not None and self.made.node.kill_pod(leader) > 0

    def _stop_stores(self, pod: Object) -> bool:
        self._scale(0)
        self._back = time.monotonic() + AWAY_SECONDS
        return True

    def _scale(self, replicas: int) -> None:
        for name in STORES:
            self.made.api.kubectl("scale", f"deployment/{name}", "--namespace=stores", f"--replicas={replicas}")


def disturbed(made: Cluster, record: Record, undisturbed: Outcome) -> None:
    """Run it, and compare with the run that nobody disturbed."""
    data = machines(tiny_run("disturbed", storage={"uri": f"s3://{BUCKET}/{PREFIX}"}), TWO)
    disturber = Disturber(made, record)
    with record.step("on the cluster, disturbed"):
        apply(made, data)
        seen = watch(made, "disturbed", LIMIT_SECONDS, disturber.look)
    record.check("the run succeeded all the same", seen.succeeded, seen.why() if not seen.succeeded else "")
    record.check("everything was disturbed that was to be", len(disturber.done) == 4, disturber.done)
    record.check("kubelet came back", any(end["component"] == "kubelet" for end in made.node.ends()), made.node.ends()[-1:])
    there = outcome(made.store(PREFIX), seen.run["status"]["run"])
    kinds = {one.kind for one in undisturbed.manifests.values()}
    equal = {name for name, digest in undisturbed.digests(*kinds).items() if there.digests(*kinds).get(name) == digest}
    record.check("every artifact has the bytes of the undisturbed run", len(equal) == len(undisturbed.manifests), f"{len(equal)} stages")
    attempts = {name for name in seen.pods if "-a1" not in name}
    record.check("stages that were killed were continued", attempts, sorted(attempts))


def leading(made: Cluster) -> Object | None:
    """The operator's pod that holds the lease."""
    lease = made.api.get("lease", "msm-operator", f"--namespace={SYSTEM}")
    holder = str(lease["spec"].get("holderIdentity", ""))
    return next((pod for pod in made.pods(SYSTEM) if pod["metadata"]["name"] in holder), None)


def _kind(pod: Object) -> str:
    return str(pod["metadata"]["labels"].get("modelspec.dev/stage-kind"))


def _is_at_work(pod: Object) -> bool:
    return pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


def _age(pod: Object) -> float:
    """Seconds since its container started."""
    from datetime import UTC, datetime

    states = [one.get("state", {}).get("running", {}).get("startedAt") for one in pod["status"].get("containerStatuses", ())]
    if not states or states[0] is None:
        return 0.0
    return (datetime.now(UTC) - datetime.fromisoformat(states[0].replace("Z", "+00:00"))).total_seconds()
