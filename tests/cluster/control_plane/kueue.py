"""Kueue: quota for Jobs and PyTorchJobs, as a local process with its webhooks and conversions.

Neighbours: `webhooks`. Invariant: only its own kinds and the enabled frameworks are hooked; what it ships hooks every pod of the cluster.
"""

from typing import TYPE_CHECKING, Any

import yaml

from tests.cluster.control_plane import crds
from tests.cluster.control_plane.binaries import manifests, objects
from tests.cluster.control_plane.client import Object
from tests.cluster.control_plane.processes import Server
from tests.cluster.control_plane.webhooks import KUEUE

if TYPE_CHECKING:
    from tests.cluster.control_plane.plane import ControlPlane

CONVERTED = {"clusterqueues", "cohorts", "localqueues", "multikueueclusters", "workloads"}
OWN = {"clusterqueues", "cohorts", "workloads", "resourceflavors", "localqueues"}
SECRET = "kueue-webhook-server-cert"


def start(plane: "ControlPlane") -> None:
    """Install its definitions and webhooks and start it for the frameworks whose definitions are there."""
    shipped = manifests("kueue") / "config/components"
    plane.webhooks.install_service(KUEUE)
    plane.webhooks.install_secret(KUEUE, SECRET)
    definitions = objects(*sorted((shipped / "crd/bases").glob("*.yaml")))
    crds.install(plane.api, [_with_conversion(plane, one) for one in definitions])
    frameworks = _frameworks(plane)
    hooked = OWN | {framework.split("/")[1] + "s" for framework in frameworks}
    plane.webhooks.install(
        KUEUE,
        objects(shipped / "webhook/manifests.yaml"),
        name=lambda one: f"kueue-{one['metadata']['name']}",
        keep=lambda resources: bool(resources & hooked),
    )
    plane.processes.start(_server(plane, frameworks))


def _with_conversion(plane: "ControlPlane", definition: Object) -> Object:
    if definition["spec"]["names"]["plural"] in CONVERTED:
        webhook = {"clientConfig": plane.webhooks.client_config(KUEUE, "/convert"), "conversionReviewVersions": ["v1"]}
        definition["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    return definition


def _frameworks(plane: "ControlPlane") -> list[str]:
    names = plane.api.kubectl("get", "crd", "-o", "name")
    return ["batch/job", *(["kubeflow.org/pytorchjob"] if "pytorchjobs.kubeflow.org" in names else [])]


def _server(plane: "ControlPlane", frameworks: list[str]) -> Server:
    health = plane.processes.port("kueue-health")
    path = plane.directory / "kueue.yaml"
    path.write_text(yaml.safe_dump(_configuration(plane, frameworks, health)), encoding="utf-8")
    # VisibilityOnDemand starts an aggregated API that needs an in-cluster kubeconfig: the process would end two seconds later.
    arguments = (f"--config={path}", "--feature-gates=VisibilityOnDemand=false")
    environment = plane.webhooks.environment(KUBECONFIG=str(plane.kubeconfig))
    return Server("kueue", arguments, f"http://127.0.0.1:{health}/readyz", environment)


def _configuration(plane: "ControlPlane", frameworks: list[str], health: int) -> dict[str, Any]:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": KUEUE.namespace,
        "leaderElection": {"leaderElect": False},
        # Not disabled: then it insists on certificates in a directory below /etc.
        "internalCertManagement": {"enable": True, "webhookServiceName": KUEUE.name, "webhookSecretName": SECRET},
        "webhook": {"port": plane.webhooks.port(KUEUE), "certDir": str(plane.webhooks.certificates)},
        "metrics": {"bindAddress": "0"},
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "manageJobsWithoutQueueName": False,
        "integrations": {"frameworks": frameworks},
    }
