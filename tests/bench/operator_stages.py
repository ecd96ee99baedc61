"""What the operator's bench does and sees of stages: who works on pods, and how soon a run's status says that one has ended.

Neighbours: `bench_operator` connects both to watches. The operator learns of a commit by the end of the stage's pod, so that is the event.
A first stage that runs share may be committed by another run's pod; it is left out.
"""

from typing import Any

from msm.clock import SystemClock
from msm.store.artifacts import read_manifest
from msm_operator.backends.names import KIND, RUN, STAGE
from msm_operator.controllers.documents import Documents, load, run_id
from msm_operator.runtime.cache import Change
from tests.cluster.test_msmrun.installation import Installation
from tests.finished import commit

SHARED = "fetch"
STARTS = "Pending"
"""The reason of a stage whose pods are being started."""


def run_of(obj: Any) -> str:
    return str((obj["metadata"].get("labels") or {}).get(RUN, ""))


class Watched:
    """Pods' ends, and what statuses say of stages: one whose pods are being started, one that runs, one more that is done."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.delays: list[float] = []
        self.transitions = 0
        self._states: dict[str, dict[str, str]] = {}
        self._ended: set[str] = set()
        self._owed: dict[str, list[float]] = {}

    def pod(self, pod: Any, now: float) -> None:
        """A pod was heard of."""
        name, labels = pod["metadata"]["name"], pod["metadata"].get("labels") or {}
        over = pod.get("status", {}).get("phase") == "Succeeded"
        if over and name not in self._ended and labels.get(KIND, SHARED) != SHARED:
            self._ended.add(name)
            self._owed.setdefault(run_of(pod), []).append(now)

    def run(self, name: str, status: Any, now: float) -> None:
        """A run's status was heard of."""
        before, done = self.done.get(name, 0), int(status.get("plan", {}).get("done", 0))
        for _ in range(max(before, 1), done):
            owed = self._owed.get(name)
            self.delays.append(now - owed.pop(0) if owed else 0.0)  # the watch of runs may be ahead of that of pods
        rows = status.get("stages", ())
        states = {row["fingerprint"]: row["state"] for row in rows if row["state"] == "running" or row.get("reason") == STARTS}
        known = self._states.get(name, {})
        self.transitions += max(0, done - before) + sum(known.get(stage) != state for stage, state in states.items())
        self.done[name], self._states[name] = max(before, done), states


class Workers:
    """Somebody who does the stages' work: commits what a running pod stands for and lets the pod end."""

    def __init__(self, operator: Installation, namespace: str) -> None:
        self._operator, self._namespace = operator, namespace
        self._documents: dict[str, Documents] = {}
        self._done: set[str] = set()

    def heard(self, change: Change) -> str:
        """Whose pod this change is about, if it is one to work on."""
        pod = change.object
        running = (
            change.type != "deleted" and pod.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
        )
        if not running or change.key.name in self._done or not run_of(pod):
            return ""
        self._done.add(change.key.name)
        return run_of(pod)

    def work(self, pod: Any) -> None:
        """In a thread: the store is not asynchronous."""
        name = run_of(pod)
        documents = self._documents.get(name) or self._documents.setdefault(name, self._load(pod, name))
        stage = self._operator.stage_of(pod, documents.plan)
        if read_manifest(documents.store, stage.kind, stage.fingerprint) is None:
            commit(documents.store, documents.plan, stage, SystemClock(), 2.0, 4, self._operator.directory)  # type: ignore[arg-type]
        self._operator.annotate(pod, exit_code="0")

    def _load(self, pod: Any, name: str) -> Documents:
        uid = self._operator.get(self._namespace, name)["metadata"]["uid"]
        found = load(self._operator.store, self._operator.config, run_id(name, uid))
        assert found is not None and pod["metadata"]["labels"][STAGE]
        return found
