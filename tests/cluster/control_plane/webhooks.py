"""Admission and conversion webhooks of controllers that are no pods: no kube-proxy, no cluster DNS, no cert-manager.

The API server is given a Service of type ExternalName `localhost` and the port that the controller really listens on; the certificate
stays that of `<service>.<namespace>.svc`. One CA and one certificate serve every controller. Neighbours: the add-ons call this.
Invariant: webhook configurations keep their upstream rules; only their addresses change.
"""

import base64
import copy
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.cluster.control_plane.client import Api, Object
from tests.cluster.control_plane.pki import Authority, authority
from tests.cluster.control_plane.processes import Processes

ROTATOR_NAMES = ("training-operator-ca", "kueue-ca")
"""Names that the cert rotators look for among the alternative names of the CA."""


@dataclass(frozen=True, slots=True)
class WebhookService:
    """Where a controller's webhooks are, as its manifests say."""

    namespace: str
    name: str


TRAINING_OPERATOR = WebhookService("kubeflow", "training-operator")
KSERVE = WebhookService("kserve", "kserve-webhook-server-service")
KUEUE = WebhookService("kueue-system", "kueue-webhook-service")
SERVICES = (TRAINING_OPERATOR, KSERVE, KUEUE)


class Webhooks:
    """The certificates of all webhook servers, and the objects that lead to them."""

    def __init__(self, directory: Path, api: Api, processes: Processes) -> None:
        self.directory = directory
        self._api = api
        self._processes = processes

    def port(self, service: WebhookService) -> int:
        """The port that the controller is to listen on."""
        return self._processes.port(f"webhook-{service.name}")

    @cached_property
    def authority(self) -> Authority:
        """The CA of every webhook."""
        return authority(self.directory / "pki", ROTATOR_NAMES[0], names=ROTATOR_NAMES, rotatable=True)

    @cached_property
    def certificates(self) -> Path:
        """The directory with tls.crt and tls.key, where controller-runtime looks for them below `temporary`."""
        pair = self.authority.server("tls", ["localhost", "127.0.0.1", *(f"{one.name}.{one.namespace}.svc" for one in SERVICES)])
        directory = self.temporary / "k8s-webhook-server" / "serving-certs"
        directory.mkdir(parents=True)
        shutil.copy(pair.certificate, directory / "tls.crt")
        shutil.copy(pair.key, directory / "tls.key")
        return directory

    @property
    def temporary(self) -> Path:
        """What the controllers are given as TMPDIR."""
        return self.directory / "tmp"

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a controller that serves webhooks."""
        assert self.certificates.exists()
        return {"TMPDIR": str(self.temporary), **more}

    def install_service(self, service: WebhookService) -> None:
        """The controller's namespace, and the Service that leads to this machine."""
        spec = {"type": "ExternalName", "externalName": "localhost"}
        self._api.put(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": service.namespace}},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": service.name, "namespace": service.namespace}, "spec": spec},
        )

    def install_secret(self, service: WebhookService, name: str) -> None:
        """The certificate as a Secret, which cert rotators take as already made."""
        files = {"ca.crt": self.authority.pair.certificate, "ca.key": self.authority.pair.key}
        files |= {name: self.certificates / name for name in ("tls.crt", "tls.key")}
        data = {key: base64.b64encode(path.read_bytes()).decode() for key, path in files.items()}
        self._api.put({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": service.namespace}, "data": data})

    def client_config(self, service: WebhookService, path: str) -> Object:
        """Where the API server is to call."""
        bundle = base64.b64encode(self.authority.pair.certificate.read_bytes()).decode()
        address = {"namespace": service.namespace, "name": service.name, "path": path, "port": self.port(service)}
        return {"service": address, "caBundle": bundle}

    def install(
        self,
        service: WebhookService,
        objects: Iterable[Object],
        name: Callable[[Object], str] = lambda configuration: str(configuration["metadata"]["name"]),
        keep: Callable[[set[str]], bool] = lambda resources: True,
    ) -> None:
        """Webhook configurations under `name`, of the webhooks whose resources `keep` wants."""
        for shipped in objects:
            if not shipped["kind"].endswith("WebhookConfiguration"):
                continue
            configuration = copy.deepcopy(shipped)
            configuration["metadata"] = {"name": name(shipped)}
            configuration["webhooks"] = [hook for hook in configuration["webhooks"] if keep(_resources(hook))]
            for hook in configuration["webhooks"]:
                hook["clientConfig"] = self.client_config(service, hook["clientConfig"]["service"]["path"])
            if configuration["webhooks"]:
                self._api.put(configuration)


def _resources(hook: Object) -> set[str]:
    return {resource.split("/")[0] for rule in hook["rules"] for resource in rule["resources"]}
