"""A cluster that answers as a test says: a fault injector, not an API server.

It keeps runs as dicts, lets their status turn at each look, and answers any request with a refusal or a silence that was put before it.
What the real API server says is tested in tests/cluster/test_submit_*.py; the refusals here have its words.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from msm.cluster.connection import JSON, Answer, Place
from msm.errors import TryAgain

Object = dict[str, Any]
PLACE = Place("lab", "team", "https://lab.example:6443")
RUNS = "/apis/modelspec.dev/v1alpha1/namespaces/team/msmruns"


@dataclass(frozen=True)
class Sent:
    """One request that was made."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any] | None
    content: str


@dataclass
class ScriptedCluster:
    """`Requests`. `faults` are (how method and path begin, answer or exception), used up; `turns` change runs before a look at them."""

    runs: dict[str, Object] = field(default_factory=dict)
    pods: list[Object] = field(default_factory=list)
    logs: dict[str, str | Answer] = field(default_factory=dict)
    faults: list[tuple[str, Answer | Exception]] = field(default_factory=list)
    turns: list[Callable[[dict[str, Object]], None]] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    place: Place = PLACE

    def send(self, method: str, path: str, *, query: Any = None, body: Any = None, content: str = JSON) -> Answer:
        self.sent.append(Sent(method, path, query or {}, copy.deepcopy(body), content))
        fault = next((one for one in self.faults if f"{method} {path}".startswith(one[0])), None)
        if fault is not None:
            self.faults.remove(fault)
            if isinstance(fault[1], Exception):
                raise fault[1]
            return fault[1]
        if "/pods" in path:
            return self._pods(path)
        return self._runs(method, path.removeprefix(RUNS).strip("/"), query or {}, body)

    def writes(self) -> list[str]:
        """Methods and paths of what changes something."""
        return [f"{one.method} {one.path.removeprefix(RUNS)}" for one in self.sent if one.method != "GET" and "dryRun" not in one.query]

    def _pods(self, path: str) -> Answer:
        if not path.endswith("/log"):
            return answer(200, {"items": self.pods})
        found = self.logs[path.split("/")[-2]]
        return found if isinstance(found, Answer) else Answer(200, found.encode())

    def _runs(self, method: str, name: str, query: Mapping[str, str], body: Any) -> Answer:
        if method == "GET" and self.turns:
            self.turns.pop(0)(self.runs)
        if not name:
            return answer(200, {"items": list(self.runs.values())})
        if method == "PATCH" and "apply" in self.sent[-1].content:
            return self._apply(name, query, body)
        if name not in self.runs:
            return refusal(404, "NotFound", f'msmruns.modelspec.dev "{name}" not found', kind="msmruns", name=name)
        if method == "PATCH":
            self.runs[name]["spec"] |= body["spec"]
        return answer(200, self.runs.pop(name) if method == "DELETE" else self.runs[name])

    def _apply(self, name: str, query: Mapping[str, str], body: Any) -> Answer:
        before = self.runs.get(name)
        after = copy.deepcopy(before) if before else run_object(name)
        after["spec"] = copy.deepcopy(body["spec"])
        if before is None or before["spec"] != after["spec"]:
            after["metadata"]["resourceVersion"] = str(len(self.sent))
        if "dryRun" not in query:
            self.runs[name] = after
        return answer(201 if before is None else 200, after)


def answer(status: int, body: Any, *warnings: str) -> Answer:
    return Answer(status, json.dumps(body).encode(), warnings)


def refusal(status: int, reason: str, message: str, *causes: tuple[str, str, str], kind: str = "", name: str = "") -> Answer:
    """A Status object; causes are (field, message, reason)."""
    told = [{"field": c[0], "message": c[1], "reason": c[2]} for c in causes]
    details = {"kind": kind, "name": name, "causes": told}
    return answer(status, {"kind": "Status", "code": status, "reason": reason, "message": message, "details": details})


def silence() -> TryAgain:
    return TryAgain("the cluster at https://lab.example:6443 (lab) does not answer: [Errno 111] Connection refused")


def run_object(name: str = "cheese", *conditions: tuple[str, str, str, str], **status: Any) -> Object:
    """A run as the API server gives it; conditions are (type, status, reason, message)."""
    found: Object = {
        "apiVersion": "modelspec.dev/v1alpha1",
        "kind": "MSMRun",
        "metadata": {"name": name, "namespace": "team", "uid": f"uid-of-{name}", "resourceVersion": "1", "generation": 1},
        "spec": {"baseModel": {"uri": "hf://org/base"}},
    }
    told = [dict(zip(("type", "status", "reason", "message"), c, strict=True)) for c in conditions]
    if told or status:
        found["status"] = {**status, "conditions": told}
    return found


ACCEPTED = ("Accepted", "True", "Planned", "inputs are resolved and the plan is frozen")
RUNNING = ("Progressing", "True", "StagesRunning", "midtrain america seed 0")
SUCCEEDED = ("Succeeded", "True", "AllCommitted", "everything is committed")
FAILED = ("Failed", "True", "StagesFailed", "midtrain america seed 0: RetriesExhausted: 4 faults")
SUSPENDED = ("Suspended", "True", "Suspended", "set spec.suspend to false to continue")
REFUSED = ("Accepted", "False", "InvalidSpec", "spec.arms[0].finetune[0]: no demonstration named chese")
RESOLVING = ("Accepted", "Unknown", "Resolving", "inputs are being resolved")


def turn(*conditions: tuple[str, str, str, str], name: str = "cheese", **status: Any) -> Callable[[dict[str, Object]], None]:
    """A change of a run's status."""

    def change(runs: dict[str, Object]) -> None:
        runs[name] = {**run_object(name, *conditions, **status), "spec": runs[name]["spec"]}

    return change


@dataclass
class FakeClock:
    """Time that moves by being slept."""

    seconds: float = 0.0

    def now(self) -> datetime:
        return datetime(2026, 5, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
