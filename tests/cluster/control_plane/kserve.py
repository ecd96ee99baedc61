"""KServe's manager in Standard mode: no Knative, no Istio, no Gateway API, no cert-manager.

Neighbours: `webhooks`. Invariant: upstream's definitions and webhooks; its ConfigMap with the few keys changed that a cluster without the
parts above needs. Cost: the API server grows to about 0.7 GiB, KServe's schemas are large.
"""

import json
from typing import TYPE_CHECKING, Any

from tests.cluster.control_plane import crds
from tests.cluster.control_plane.binaries import manifests, objects
from tests.cluster.control_plane.client import Object
from tests.cluster.control_plane.processes import Server
from tests.cluster.control_plane.webhooks import KSERVE

if TYPE_CHECKING:
    from tests.cluster.control_plane.plane import ControlPlane

SMALL = {"cpuLimit": "1", "memoryLimit": "1Gi", "cpuRequest": "100m", "memoryRequest": "128Mi"}
CHANGES: dict[str, dict[str, Any]] = {
    "deploy": {"defaultDeploymentMode": "Standard"},
    "ingress": {"disableIstioVirtualHost": True, "disableIngressCreation": True},
    "inferenceService": {"resource": SMALL},
    "storageInitializer": {"image": "example.invalid/storage-initializer:0"},
}


def start(plane: "ControlPlane") -> None:
    """Install its definitions and configuration, start it, then install its webhooks: before, they would refuse everything."""
    shipped = manifests("kserve") / "config"
    files = [
        *sorted((shipped / "crd/full").glob("serving.kserve.io_*.yaml")),
        *sorted((shipped / "crd/full/clusterstoragecontainer").glob("*.yaml")),
    ]
    crds.install(plane.api, [one for one in objects(*files) if one["kind"] == "CustomResourceDefinition"])
    plane.webhooks.install_service(KSERVE)
    plane.api.put(configuration(objects(shipped / "configmap/inferenceservice.yaml")[0]))
    plane.processes.start(_server(plane))
    plane.webhooks.install(KSERVE, objects(shipped / "webhook/manifests.yaml"))


def configuration(shipped: Object) -> Object:
    """Upstream's ConfigMap with our changes."""
    data = {key: value for key, value in shipped["data"].items() if key != "_example"}
    for key, change in CHANGES.items():
        data[key] = json.dumps({**json.loads(data.get(key, "{}")), **change}, indent=1)
    metadata = {"name": "inferenceservice-config", "namespace": KSERVE.namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _server(plane: "ControlPlane") -> Server:
    health, metrics = (plane.processes.port(f"kserve-{use}") for use in ("health", "metrics"))
    arguments = (
        f"--kubeconfig={plane.kubeconfig}",
        "--leader-elect=false",
        f"--webhook-port={plane.webhooks.port(KSERVE)}",
        f"--metrics-addr=127.0.0.1:{metrics}",
        f"--health-probe-addr=127.0.0.1:{health}",
    )
    environment = plane.webhooks.environment(POD_NAMESPACE=KSERVE.namespace)
    return Server("kserve", arguments, f"http://127.0.0.1:{health}/readyz", environment, program="kserve-manager")
