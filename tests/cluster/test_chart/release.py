"""A release of the chart on a real control plane: helm as a user types it, and somebody who runs what the chart's pods would run.

Fake in here is one thing, a kubelet: pods stand on fake nodes, so this module starts a pod's program on this machine, with the environment
and the ServiceAccount that its spec says, and tells the pod how that ended. helm, API server, controllers, store and programs are real.
"""

import base64
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import rbac
from tests.cluster.control_plane import ControlPlane, NotBuilt
from tests.cluster.control_plane.binaries import program
from tests.s3 import S3Server

Object = dict[str, Any]
HOME = "msm-system"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
CODE = "fake.modelspec.dev/exit-code"


def helm_program(name: str = "helm") -> str:
    """Path of helm; the test is skipped where it is not built."""
    try:
        return str(program(name))
    except NotBuilt as missing:
        pytest.skip(f"cluster lane: {missing}")


@dataclass
class Release:
    """One release in one namespace, with a bucket of its own."""

    plane: ControlPlane
    s3: S3Server
    directory: Path
    name: str = "msm"
    namespace: str = HOME
    bucket: str = field(default_factory=lambda: f"chart-{uuid.uuid4().hex[:8]}")
    chart: Path = rbac.CHART
    said: dict[str, str] = field(default_factory=dict)
    """What programs printed, by the pod's name."""

    def prepare(self, *namespaces: str) -> None:
        """Make the bucket, and namespaces that enforce Pod Security `restricted` and have the store's Secret."""
        self.s3.make_bucket(self.bucket)
        for each in (self.namespace, *namespaces):
            self.plane.api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": each, "labels": RESTRICTED}})
            self.credentials(each)

    def credentials(self, namespace: str, **keys: str) -> None:
        """The store's Secret in a namespace."""
        right = {"AWS_ACCESS_KEY_ID": self.s3.access_key, "AWS_SECRET_ACCESS_KEY": self.s3.secret_key}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "msm-store", "namespace": namespace}}
        self.plane.api.put({**secret, "stringData": {**right, **keys}})

    @property
    def values(self) -> dict[str, Any]:
        """What every release here is told."""
        store = {"uri": f"s3://{self.bucket}/store", "endpoint": self.s3.endpoint, "region": "us-east-1"}
        return {
            "images": {"registry": "registry.example.com", "trainer": {"tag": "1"}, "operator": {"tag": "1"}},
            "store": store,
            "preflight": {"timeoutSeconds": 30},
            "stages": {"graceSeconds": 30},
        }

    def helm(self, *arguments: str, act: Callable[[], None] | None = None, name: str = "helm") -> "subprocess.CompletedProcess[str]":
        """A helm command, while `act` (default: the kubelet) is done over and over."""
        home = {f"HELM_{part}_HOME": str(self.directory / part) for part in ("CACHE", "CONFIG", "DATA")}
        command = [helm_program(name), "--kubeconfig", str(self.plane.kubeconfig), "--namespace", self.namespace, *arguments]
        process = subprocess.Popen(
            command, env={**os.environ, **home}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        with Kubelet(self) as kubelet:
            while process.poll() is None:
                (act or kubelet.turn)()
                time.sleep(0.2)
        assert process.stdout is not None
        return subprocess.CompletedProcess(command, process.returncode, process.stdout.read(), "")

    def install(self, *arguments: str, verb: Sequence[str] = ("install",), helm: str = "helm", **more: Any) -> str:
        """Install or upgrade with the values of all and `more`, whoever had the definitions before; what helm said.

        Raises:
            AssertionError: helm failed.
        """
        done = self.try_install("--take-ownership", *arguments, verb=verb, helm=helm, **more)
        assert done.returncode == 0, f"{done.stdout}\n{self.said}"
        return done.stdout

    def try_install(
        self,
        *arguments: str,
        verb: Sequence[str] = ("install",),
        helm: str = "helm",
        act: Callable[[], None] | None = None,
        **more: Any,
    ) -> "subprocess.CompletedProcess[str]":
        """The same, whatever comes of it."""
        file = self.directory / "values.yaml"
        file.write_text(yaml.safe_dump(_merged(self.values, more)), encoding="utf-8")
        return self.helm(*verb, self.name, str(self.chart), "--values", str(file), "--timeout", "3m", *arguments, act=act, name=helm)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object:
        return self.plane.api.get(kind, name, "-n", namespace or self.namespace)

    def names(self, kind: str) -> list[str]:
        """Names of all objects of a kind in the release's namespace."""
        return [o["metadata"]["name"] for o in self.plane.api.get(kind, "-n", self.namespace)["items"]]

    def operator_environment(self) -> dict[str, str]:
        """The environment of the operator's container, as its Deployment says it now."""
        (container,) = self.get("deployment", "msm-operator")["spec"]["template"]["spec"]["containers"]
        return self.environment(container, self.namespace)

    def environment(self, container: Object, namespace: str) -> dict[str, str]:
        """What a kubelet would give a container: values, fields, and keys of Secrets that are there."""
        found: dict[str, str] = {}
        for entry in container.get("env", ()):
            source = entry.get("valueFrom", {})
            if "fieldRef" in source:
                found[entry["name"]] = namespace
            elif "secretKeyRef" in source:
                value = self._key(namespace, source["secretKeyRef"])
                found |= {entry["name"]: value} if value is not None else {}
            else:
                found[entry["name"]] = entry.get("value", "")
        return found

    def _key(self, namespace: str, ref: Object) -> str | None:
        reply = self.plane.api.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{ref['name']}")
        value = reply.body.get("data", {}).get(ref["key"])
        if value is None:
            assert ref.get("optional"), f"a kubelet would not start this: no {ref['key']} in {ref['name']}"
            return None
        return base64.b64decode(value).decode()


class Kubelet:
    """Runs the programs of the release's Jobs and test pods, each once, in threads."""

    def __init__(self, release: Release) -> None:
        self._release, self._threads = release, ThreadPoolExecutor(4)
        self._started: dict[str, Future[None]] = {}

    def __enter__(self) -> "Kubelet":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def turn(self) -> None:
        """Start what has become Running since the last turn."""
        release = self._release
        pods = release.plane.api.request("GET", f"/api/v1/namespaces/{release.namespace}/pods").body["items"]
        for pod in pods:
            is_program = pod["metadata"].get("labels", {}).get("app.kubernetes.io/name") in ("msm-preflight", "msm-test")
            is_image = "modelspec.dev/preflight" in pod["metadata"].get("labels", {})
            uid = pod["metadata"]["uid"]
            if is_program and not is_image and pod["status"].get("phase") == "Running" and uid not in self._started:
                self._started[uid] = self._threads.submit(self._run, pod)

    def _run(self, pod: Object) -> None:
        release, name = self._release, pod["metadata"]["name"]
        (container,) = pod["spec"]["containers"]
        identity = release.plane.service_account(release.namespace, pod["spec"]["serviceAccountName"])
        scratch = release.directory / f"pod-{uuid.uuid4().hex[:8]}"
        scratch.mkdir()
        environment = {**os.environ, **release.environment(container, release.namespace), "HOME": str(scratch)}
        command = [sys.executable, *container["command"][1:], "--kubeconfig", str(identity)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        release.said[name] = done.stdout + done.stderr
        marks = {"metadata": {"annotations": {CODE: str(done.returncode)}}}
        path = f"/api/v1/namespaces/{release.namespace}/pods/{name}"
        release.plane.api.request("PATCH", path, marks, content="application/merge-patch+json")


def _merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for key, value in more.items():
        found[key] = _merged(found[key], value) if isinstance(value, dict) and isinstance(found.get(key), dict) else value
    return found
