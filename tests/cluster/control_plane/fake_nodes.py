"""Nodes without a machine: kwok keeps them Ready and ends their pods as annotations of the pod say.

Neighbours: `stages/*.yaml` say what happens to a pod (kwok has no stages of its own), `plane` starts this. A fake, for tests in which no
process must run: nothing here pulls an image, mounts a volume or enforces a limit.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.control_plane.client import Object
from tests.cluster.control_plane.processes import Server

if TYPE_CHECKING:
    from tests.cluster.control_plane.plane import ControlPlane

STAGES = Path(__file__).with_name("stages")
PREFIX = "fake.modelspec.dev/"
"""Of the annotations that steer a pod: start-delay, run-for, exit-code, reason, message, never-ready, never-start."""


def start(plane: "ControlPlane") -> None:
    """Start kwok and two nodes with four GPUs each."""
    port = plane.processes.port("kwok")
    arguments = [
        f"--kubeconfig={plane.kubeconfig}",
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        f"--server-address=127.0.0.1:{port}",
        "--node-lease-duration-seconds=40",
        "--node-ip=127.0.0.1",
        "--cidr=10.128.0.0/14",
        *(f"--config={file}" for file in sorted(STAGES.glob("*.yaml"))),
    ]
    plane.processes.start(Server("kwok", tuple(arguments), f"http://127.0.0.1:{port}/healthz"))
    for number in range(2):
        add(plane, f"fake-{number}")


def add(plane: "ControlPlane", name: str, gpus: int = 4, pods: int = 2000) -> None:
    """One more node. `create`, because only that keeps the status of a node."""
    plane.api.kubectl("create", "-f", "-", stdin=json.dumps(node(name, gpus, pods)))


def node(name: str, gpus: int, pods: int) -> Object:
    """A node object that kwok takes as its own."""
    size = {"cpu": "64", "memory": "256Gi", "pods": str(pods), "ephemeral-storage": "1Ti", "nvidia.com/gpu": str(gpus)}
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "type": "kwok"}
    metadata = {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": {"capacity": size, "allocatable": size}}
