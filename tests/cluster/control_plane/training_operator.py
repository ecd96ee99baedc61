"""The training operator, which turns PyTorchJobs into pods; as a local process with its webhook.

Neighbours: `webhooks` gives certificates and addresses. Invariant: upstream's definition and rules, unchanged.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.cluster.control_plane import crds
from tests.cluster.control_plane.binaries import manifests, objects
from tests.cluster.control_plane.processes import Server
from tests.cluster.control_plane.webhooks import TRAINING_OPERATOR

if TYPE_CHECKING:
    from tests.cluster.control_plane.plane import ControlPlane

HARD_CODED = Path("/tmp/k8s-webhook-server/serving-certs/tls.crt")
"""Upstream's rotator only looks whether this file exists; what is served comes from TMPDIR. An empty file is enough."""
INIT_CONTAINER = [
    {
        "name": "init-pytorch",
        "image": "example.invalid/busybox:1",
        "command": ["sh", "-c", "until nslookup {{.MasterAddr}}; do sleep 2; done"],
    }
]


def start(plane: "ControlPlane") -> None:
    """Install its definition and webhook, start it, wait until it is ready."""
    shipped = manifests("training-operator") / "manifests/base"
    crds.install(plane.api, objects(shipped / "crds/kubeflow.org_pytorchjobs.yaml"))
    plane.webhooks.install_service(TRAINING_OPERATOR)
    plane.webhooks.install_secret(TRAINING_OPERATOR, "training-operator-webhook-cert")
    if not HARD_CODED.exists():
        HARD_CODED.parent.mkdir(parents=True, exist_ok=True)
        HARD_CODED.touch()
    plane.processes.start(_server(plane))
    plane.webhooks.install(
        TRAINING_OPERATOR,
        objects(shipped / "webhook/manifests.yaml"),
        name=lambda configuration: "validator.training-operator.kubeflow.org",
        keep=lambda resources: "pytorchjobs" in resources,
    )


def _server(plane: "ControlPlane") -> Server:
    template = plane.directory / "init-container.yaml"
    template.write_text(yaml.safe_dump(INIT_CONTAINER), encoding="utf-8")
    health, metrics = (plane.processes.port(f"training-operator-{use}") for use in ("health", "metrics"))
    arguments = (
        f"--kubeconfig={plane.kubeconfig}",
        "--enable-scheme=pytorchjob",
        f"--webhook-server-port={plane.webhooks.port(TRAINING_OPERATOR)}",
        "--leader-elect=false",
        f"--metrics-bind-address=127.0.0.1:{metrics}",
        f"--health-probe-bind-address=127.0.0.1:{health}",
        "--controller-threads=4",
        "--kube-api-qps=100",
        "--kube-api-burst=200",
        f"--pytorch-init-container-template-file={template}",
    )
    environment = plane.webhooks.environment(MY_POD_NAMESPACE=TRAINING_OPERATOR.namespace)
    return Server("training-operator", arguments, f"http://127.0.0.1:{health}/readyz", environment)
