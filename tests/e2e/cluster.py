"""A cluster as a user finds it, and this project installed on it: node, images, other projects' controllers, stores, chart.

Neighbours: `controllers`, `archives`, `node`; the parts of the test are given the `Cluster` that is made here. Invariant: from the chart
on, everything is done as a user does it, with helm and kubectl.
"""

import json
import os
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from msm.store import StoreConfig
from tests.cluster.control_plane.binaries import program
from tests.cluster.control_plane.client import Api, Object
from tests.e2e import archives, controllers
from tests.e2e.node import Node
from tests.e2e.record import Record

OBJECTS = Path(__file__).with_name("objects")
CHART = Path(__file__).resolve().parents[2] / "charts" / "msm"
SYSTEM, RUNS = "msm-system", "runs"
"""Namespaces of the installation and of the runs."""
BUCKET = "msm"
S3, MLFLOW = "http://s3.stores.svc.cluster.local:8333", "http://mlflow.stores.svc.cluster.local:5000"


@dataclass(slots=True)
class Cluster:
    """The node with everything on it."""

    node: Node
    access_key: str
    secret_key: str

    @classmethod
    def on(cls, node: Node) -> "Cluster":
        """A cluster on a node, with a credential for its store."""
        return cls(node, "e2e", secrets.token_hex(12))

    @property
    def api(self) -> Api:
        """The administrator."""
        return self.node.api

    @property
    def environment(self) -> dict[str, str]:
        """What a program is given that acts as the administrator."""
        return {**os.environ, "KUBECONFIG": str(self.node.layout.kubeconfig("admin")), "HOME": str(self.node.layout.directory)}

    def address(self, service: str, namespace: str) -> str:
        """A Service's address, which the test process reaches too."""
        return str(self.api.get("service", service, f"--namespace={namespace}")["spec"]["clusterIP"])

    def store(self, prefix: str = "platform") -> StoreConfig:
        """The cluster's store, as the test process reaches it."""
        endpoint = f"http://{self.address('s3', 'stores')}:8333"
        return StoreConfig(f"s3://{BUCKET}/{prefix}", endpoint, "us-east-1", access_key=self.access_key, secret_key=self.secret_key)

    def helm(self, *arguments: str) -> str:
        """What helm prints.

        Raises:
            CalledProcessError: it failed; what it said is on standard error.
        """
        command = [str(program("helm")), *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=self.environment).stdout

    def pods(self, namespace: str, selector: str = "") -> list[Object]:
        """Pods of a namespace."""
        found = self.api.get("pods", f"--namespace={namespace}", *([f"--selector={selector}"] if selector else []))
        return list(found["items"])


def load_images(made: Cluster, record: Record, *names: str) -> None:
    """Bring images into the node's store."""
    for name in names:
        with record.step(f"image {name}"):
            made.node.load(archives.built()[name].archive)


def install_stores(made: Cluster) -> None:
    """The S3 server and the MLflow server, their bucket, and a namespace for runs that enforces Pod Security `restricted`."""
    data = made.node.layout.directory / "data"
    for name in ("s3", "mlflow"):
        (data / name).mkdir(parents=True, exist_ok=True)
        os.chown(data / name, 65532, 65532)
    filled = {"ACCESS_KEY": made.access_key, "SECRET_KEY": made.secret_key, "DATA": str(data)}
    filled |= {"S3_IMAGE": archives.built()["seaweedfs"].reference, "MLFLOW_IMAGE": archives.built()["mlflow"].reference}
    made.api.kubectl("apply", "-f", "-", stdin=fill((OBJECTS / "stores.yaml").read_text(), filled))
    for name in ("s3", "mlflow"):
        made.api.kubectl("rollout", "status", f"deployment/{name}", "--namespace=stores", "--timeout=300s")
    _make_bucket(made)
    for namespace in (SYSTEM, RUNS):
        made.api.put(*namespace_of(namespace, made))


def namespace_of(name: str, made: Cluster) -> list[Object]:
    """A namespace that enforces Pod Security `restricted`, with the store's credential."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
    data = {"AWS_ACCESS_KEY_ID": made.access_key, "AWS_SECRET_ACCESS_KEY": made.secret_key}
    kserve = {"s3-endpoint": S3.removeprefix("http://"), "s3-usehttps": "0", "s3-region": "us-east-1"}
    secret = {"name": "msm-store", "namespace": name, "annotations": {f"serving.kserve.io/{key}": value for key, value in kserve.items()}}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": secret, "stringData": data},
    ]


def fill(text: str, values: dict[str, str]) -> str:
    """Replace upper-case words."""
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def _make_bucket(made: Cluster) -> None:
    from minio import Minio

    address = f"{made.address('s3', 'stores')}:8333"
    client = Minio(address, access_key=made.access_key, secret_key=made.secret_key, secure=False, region="us-east-1")
    if not client.bucket_exists(BUCKET):
        client.make_bucket(BUCKET)


def values() -> dict[str, Any]:
    """What a user with this cluster writes into values.yaml."""
    built = {name: archives.built()[name].reference for name in archives.OURS if name in archives.built()}
    named = {name: reference.removeprefix("localhost/").rsplit(":", 1) for name, reference in built.items()}
    return {
        "images": {
            "registry": "localhost",
            "pullPolicy": "IfNotPresent",
            **{name: {"registry": "localhost", "repository": repository, "tag": tag} for name, (repository, tag) in named.items()},
        },
        "store": {"uri": f"s3://{BUCKET}/platform", "endpoint": S3, "region": "us-east-1", "secretName": "msm-store"},
        "tracking": {"uri": MLFLOW},
        "stages": {"graceSeconds": 30, "sharedMemory": "512Mi"},
        "serving": {"env": {"VLLM_CPU_KVCACHE_SPACE": "1"}, "evalGpus": 0},
        "operator": {"leaseSeconds": 8},
        "mirror": f"s3://{BUCKET}/mirror",
    }


def install_chart(made: Cluster, **more: Any) -> None:
    """`helm install`, and wait."""
    path = made.node.layout.directory / "values.yaml"
    path.write_text(yaml.safe_dump({**values(), **more}), encoding="utf-8")
    made.helm("upgrade", "--install", "msm", str(CHART), f"--namespace={SYSTEM}", f"--values={path}", "--wait", "--timeout=6m")


def install_controllers(made: Cluster, record: Record) -> None:
    """The training operator and KServe."""
    directory = made.node.layout.directory / "controllers"
    built = archives.built()
    with record.step("training operator installed and ready"):
        controllers.training_operator(made.api, directory, built["training-operator"].reference)
    with record.step("KServe installed and ready"):
        controllers.kserve(made.api, directory, built["kserve-controller"].reference, built["storage-initializer"].reference)


def condition(one: Object, name: str) -> Object:
    """A condition of an object's status; empty where there is none."""
    return next((found for found in one.get("status", {}).get("conditions", ()) if found["type"] == name), {})


def printed(one: object) -> str:
    """An object on one line."""
    return json.dumps(one, sort_keys=True, default=str)
