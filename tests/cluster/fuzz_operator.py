"""Random runs that the API server takes, given to the operator: each is planned, or refused by field, or waits with a reason.

Neighbours: `fuzz` draws them. Real: API server, training operator, S3, the operator with the rights that the chart grants. What may not be:
a traceback in its log, a run about which nothing is said, a run that is written again and again, and a sound run that has to wait for
the unsound ones (one in a hundred is sound).
"""

import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster import rbac
from tests.cluster.control_plane import ControlPlane, audit, started
from tests.cluster.runs import Object, install_definitions, path, run
from tests.cluster.test_msmrun.installation import HOME, Installation
from tests.finished import run_data
from tests.s3 import running_s3

NAMESPACE = "fuzz"
AT_ONCE = 50
"""Runs that wait for the operator's word at a time."""
PATIENCE = 120.0
SOUND_EVERY, SOUND_SECONDS = 100, 30.0
MOST_WRITES = 12
"""Writes of one status, events and jobs aside; a run is looked at for some seconds only."""
FIELD = re.compile(r"^(spec|MSMRun: spec|metadata|corpora|demonstrations|evals)\b")


@dataclass
class Given:
    """The operator, and the runs about which it has not said anything yet."""

    plane: ControlPlane
    operator: Installation
    open: dict[str, float] = field(default_factory=dict)
    """Name -> when it was given."""
    sound: set[str] = field(default_factory=set)
    outcomes: Counter[str] = field(default_factory=Counter)
    count: int = 0

    def give(self, spec: Object) -> None:
        """One more run; waits where too many are open."""
        self.count += 1
        self._create(run(f"run-{self.count}", NAMESPACE, spec))
        if self.count % SOUND_EVERY == 1:
            self._sound()
        while len(self.open) >= AT_ONCE:
            self._look()

    def conclude(self) -> dict[str, int]:
        """Wait for the last word of all, then say what became of them."""
        while self.open:
            self._look()
        time.sleep(5)
        self.operator.end()
        tracebacks = self.operator.log.count("Traceback (most recent call last)")
        if tracebacks:
            print(self.operator.log[self.operator.log.index("Traceback (most recent call last)") - 500 :][:4000])
        most = max(self._writes().values(), default=0)
        assert most <= MOST_WRITES, f"a status was written {most} times"
        shown = {key: self.outcomes[key] for key in ("planned", "refused_by_operator", "refused_when_reachable", "waiting")}
        return {"given": self.count, **shown, "tracebacks": tracebacks, "most_writes": most}

    def _create(self, one: Object) -> None:
        reply = self.plane.api.request("POST", path(one).rsplit("/", 1)[0], one, fieldValidation="Strict")
        if reply.status == 201:
            self.open[one["metadata"]["name"]] = time.monotonic()
            return
        assert reply.status in (400, 422) and "spec" in reply.message, f"{reply.status}: {reply.message}"
        self.outcomes["refused_when_reachable"] += 1

    def _sound(self) -> None:
        """A run that everybody would write, among them."""
        name = f"sound-{self.count}"
        data = run_data(seeds=[0])
        data["metadata"] = {"name": name, "namespace": NAMESPACE}
        data["spec"]["baseModel"]["uri"] = "s3://inputs/model"
        data["spec"]["evals"][0]["items"]["source"] = {"uri": "s3://inputs/items.jsonl"}
        self._create(data)
        self.sound.add(name)

    def _look(self) -> None:
        time.sleep(0.2)
        where = f"/apis/modelspec.dev/v1alpha1/namespaces/{NAMESPACE}/msmruns"
        for one in self.plane.api.request("GET", where).body["items"]:
            name = one["metadata"]["name"]
            if name in self.open and (outcome := self._judged(one, time.monotonic() - self.open[name])):
                self.outcomes[outcome] += 1
                del self.open[name]
                self.plane.api.request("DELETE", f"{where}/{name}")

    def _judged(self, one: Object, age: float) -> str:
        """What became of a run; empty while nothing was said."""
        name, said = one["metadata"]["name"], accepted(one)
        assert said or age < PATIENCE, f"nothing is said of {name}: {one}; the operator's log ends:\n{self.operator.log[-3000:]}"
        if name in self.sound:
            assert said.get("status") == "True" or age < SOUND_SECONDS, f"{name} had to wait: {said}"
            return "sound" if said.get("status") == "True" else ""
        match said.get("status"):
            case "True":
                return "planned"
            case "False":
                assert "\n" not in said["message"] and FIELD.match(said["message"]), said
                print(said["message"])
                return "refused_by_operator"
            case _:
                return "waiting" if said.get("reason") == "InputUnavailable" and said.get("message") else ""

    def _writes(self) -> Counter[str]:
        """How often each status was written."""
        found = audit.writes(self.plane.audit_log, "msm-operator")
        return Counter(write.name for write in found if write.namespace == NAMESPACE and write.resource.endswith("msmruns/status"))


def accepted(one: Object) -> dict[str, Any]:
    """The condition that says whether a run is accepted."""
    conditions: list[dict[str, Any]] = one.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == "Accepted"), {})


@contextmanager
def operated() -> Iterator[Given]:
    """A control plane with the operator at work."""
    with tempfile.TemporaryDirectory(prefix="control-plane-") as made:
        directory = Path(made)
        with running_s3(directory / "s3") as server, started(directory / "plane", "kwok", "training-operator") as plane:
            install_definitions(plane.api)
            operator = Installation(plane, server, directory, rbac.install(plane, HOME))
            operator.prepare()
            operator.inputs.put("model/model.safetensors", b"weights")
            rules = {"rules.md": "1. Be kind."}
            for body in (
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "specs", "namespace": NAMESPACE}, "data": rules},
                {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "msm-store", "namespace": NAMESPACE}},
            ):
                plane.api.put(body)
            operator.start()
            try:
                yield Given(plane, operator)
            finally:
                operator.end()
