"""The operator as a process beside a real control plane, a real S3 server, and somebody who does the stages' work.

Pods run on fake nodes, so no stage program runs: `Installation.work` commits the artifact that a running pod stands for and lets the pod
end. Everything else is real: API server, controllers, training operator, store, operator.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msm.clock import SystemClock
from msm.plan import Plan, Stage
from msm.store import ObjectStore, StoreConfig, open_store
from msm.store.artifacts import read_manifest
from msm_operator.backends.names import STAGE
from msm_operator.controllers.documents import Documents, load, run_id
from tests.cluster.control_plane import ControlPlane
from tests.finished import commit, items, lines, run_data
from tests.s3 import S3Server

Object = dict[str, Any]
HOME = "msm-system"
"""The operator's namespace."""
TINY: Object = {"arms": [{"name": "base"}], "corpora": [], "demonstrations": [], "modelSpecs": [], "registry": {"model": "x"}}
"""A run of two stages, the second of which needs the first."""
CODE, MESSAGE, REASON, NEVER = (f"fake.modelspec.dev/{name}" for name in ("exit-code", "message", "reason", "never-start"))


@dataclass
class Installation:
    """One operator with one store."""

    plane: ControlPlane
    s3: S3Server
    directory: Path
    kubeconfig: Path
    """The operator's own identity."""
    more: dict[str, str] = field(default_factory=dict)
    bucket: str = field(default_factory=lambda: f"msm-{uuid.uuid4().hex[:8]}")
    process: "subprocess.Popen[bytes] | None" = None

    def prepare(self) -> None:
        """Make the store's bucket and that of the inputs."""
        self.s3.make_bucket(self.bucket)
        self.s3.make_bucket("inputs")
        self.inputs.put("items.jsonl", lines(items()))

    @property
    def config(self) -> StoreConfig:
        return self.s3.config(self.bucket, "store")

    @property
    def inputs(self) -> ObjectStore:
        return open_store(self.s3.config("inputs"))

    @property
    def store(self) -> ObjectStore:
        return open_store(self.config)

    @property
    def log(self) -> str:
        return (self.directory / "operator.log").read_text(errors="replace")

    def start(self, name: str = "operator") -> "Installation":
        """Start the operator; returns at once."""
        environment = {
            **os.environ,
            **self.config.to_environ(),
            "POD_NAMESPACE": HOME,
            "MSM_STAGE_IMAGE": "example.invalid/trainer:1",
            "MSM_HEALTH_PORT": "0",
            "MSM_HEALTH_HOST": "127.0.0.1",
            **self.more,
        }
        command = [sys.executable, "-m", "msm_operator", "--kubeconfig", str(self.kubeconfig)]
        with (self.directory / f"{name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        return self

    def end(self, number: int = signal.SIGTERM) -> None:
        """End the operator and wait for it."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None

    def submit(self, namespace: str, name: str = "example", **spec: Any) -> None:
        """Apply a run; its model is the namespace's own, so that no test finds what another has made."""
        self.inputs.put(f"{namespace}/model.safetensors", namespace.encode())
        data = run_data(seeds=[0])
        data["metadata"] = {"name": name, "namespace": namespace}
        data["spec"]["baseModel"]["uri"] = f"s3://inputs/{namespace}"
        data["spec"]["evals"][0]["items"]["source"] = {"uri": "s3://inputs/items.jsonl"}
        data["spec"] |= spec
        self.plane.api.put(data)

    def get(self, namespace: str, name: str = "example") -> Object:
        return self.plane.api.request("GET", f"/apis/modelspec.dev/v1alpha1/namespaces/{namespace}/msmruns/{name}").body

    def condition(self, namespace: str, type_: str, name: str = "example") -> Object:
        conditions = self.get(namespace, name).get("status", {}).get("conditions", ())
        return next((c for c in conditions if c["type"] == type_), {})

    def until(self, what: Callable[[], Any], seconds: float = 90.0, why: str = "") -> Any:
        """Wait until something is true; the operator's log where it does not become so."""
        deadline = time.monotonic() + seconds
        while not (found := what()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{why or 'not'} within {seconds} s; the operator's log ends:\n{self.log[-6000:]}")
            time.sleep(0.2)
        return found

    def documents(self, namespace: str, name: str = "example") -> Documents:
        found = load(self.store, self.config, run_id(name, self.get(namespace, name)["metadata"]["uid"]))
        assert found is not None
        return found

    def pods(self, namespace: str) -> list[Object]:
        """Pods that run."""
        found = self.plane.api.request("GET", f"/api/v1/namespaces/{namespace}/pods").body["items"]
        return [p for p in found if p["status"].get("phase") == "Running" and "deletionTimestamp" not in p["metadata"]]

    def annotate(self, pod: Object, **marks: str) -> None:
        """Steer a fake pod."""
        meta = pod["metadata"]
        body = {"metadata": {"annotations": {f"fake.modelspec.dev/{k.replace('_', '-')}": v for k, v in marks.items()}}}
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        self.plane.api.request("PATCH", path, body, content="application/merge-patch+json")

    def stage_of(self, pod: Object, plan: Plan) -> Stage:
        return next(s for s in plan.stages if s.fingerprint.startswith(pod["metadata"]["labels"][STAGE]))

    def work(self, namespace: str, name: str = "example") -> int:
        """Do the work of every running pod; how many."""
        stages = [p for p in self.pods(namespace) if STAGE in p["metadata"].get("labels", {})]
        pods = [p for p in stages if CODE not in p["metadata"].get("annotations", {})]
        for pod in pods:
            documents = self.documents(namespace, name)
            stage = self.stage_of(pod, documents.plan)
            if read_manifest(documents.store, stage.kind, stage.fingerprint) is None:
                commit(documents.store, documents.plan, stage, SystemClock(), 2.0, 240, self.directory)  # type: ignore[arg-type]
            self.annotate(pod, exit_code="0")
        return len(pods)

    def work_until(self, namespace: str, done: Callable[[], Any], seconds: float = 180.0) -> None:
        """Do what comes until something is true."""

        def step() -> Any:
            self.work(namespace)
            return done()

        self.until(step, seconds)

    def events(self, namespace: str) -> list[tuple[str, str]]:
        """(reason, note) of the events about runs."""
        found = self.plane.api.request("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events").body["items"]
        return [(e["reason"], e.get("note", "")) for e in found if e["regarding"]["kind"] == "MSMRun"]

    def change(self, namespace: str, name: str = "example", **spec: Any) -> None:
        """Edit a run's spec."""
        self.plane.api.kubectl("patch", "msmrun", name, "-n", namespace, "--type=merge", "-p", json.dumps({"spec": spec}))
