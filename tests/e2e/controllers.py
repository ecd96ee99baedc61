"""The controllers of other projects, as pods: the training operator and KServe, each with its own rights, definitions and webhooks.

Neighbours: `archives` says what they are called here, `tests.cluster.control_plane` has the same as local processes. Invariant: upstream's
definitions, rights and rules unchanged; of their Deployments only what this node needs, in our words. Certificates are made here, since
there is no cert-manager; the training operator's rotator takes them for its own.
"""

import base64
import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.control_plane import crds
from tests.cluster.control_plane.binaries import manifests, objects
from tests.cluster.control_plane.client import Api, Object
from tests.cluster.control_plane.kserve import configuration
from tests.cluster.control_plane.pki import Authority, authority
from tests.cluster.control_plane.webhooks import KSERVE, ROTATOR_NAMES, TRAINING_OPERATOR, WebhookService

WEBHOOK_PORT = 9443
HEALTH_PORT = 8081
CERTIFICATES = "/tmp/k8s-webhook-server/serving-certs"


@dataclass(frozen=True, slots=True)
class Controller:
    """How one controller runs."""

    service: WebhookService
    account: str
    image: str
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    """Variables that hold the pod's namespace."""
    secret: str
    """Where its webhook's certificate is."""


def training_operator(api: Api, directory: Path, image: str) -> None:
    """PyTorchJobs."""
    shipped = manifests("training-operator") / "manifests/base"
    crds.install(api, objects(shipped / "crds/kubeflow.org_pytorchjobs.yaml"))
    arguments = ("--enable-scheme=pytorchjob", f"--webhook-server-port={WEBHOOK_PORT}", "--kube-api-qps=50", "--kube-api-burst=100")
    one = Controller(TRAINING_OPERATOR, "training-operator", image, arguments, ("MY_POD_NAMESPACE",), "training-operator-webhook-cert")
    signer = _signer(directory / "training-operator")
    _install(api, one, signer, objects(*sorted((shipped / "rbac").glob("*.yaml"))))
    wait_available(api, one)
    hooks = _hooks(one, signer, objects(shipped / "webhook/manifests.yaml"), "pytorchjobs")
    for hook in hooks:
        hook["metadata"]["name"] = "validator.training-operator.kubeflow.org"
    api.put(*hooks)


def kserve(api: Api, directory: Path, image: str, storage_initializer: str) -> None:
    """InferenceServices in Standard mode: no Knative, no Istio, no Gateway API."""
    shipped = manifests("kserve") / "config"
    definitions = [*(shipped / "crd/full").glob("serving.kserve.io_*.yaml"), *(shipped / "crd/full/clusterstoragecontainer").glob("*.yaml")]
    crds.install(api, [one for one in objects(*sorted(definitions)) if one["kind"] == "CustomResourceDefinition"])
    arguments = ("--leader-elect=false", f"--webhook-port={WEBHOOK_PORT}", f"--health-probe-addr=:{HEALTH_PORT}")
    one = Controller(KSERVE, "kserve-controller-manager", image, arguments, ("POD_NAMESPACE",), "kserve-webhook-server-cert")
    signer = _signer(directory / "kserve")
    api.put(_namespace(one))
    settings = configuration(objects(shipped / "configmap/inferenceservice.yaml")[0])
    initializer = json.loads(settings["data"]["storageInitializer"]) | {"image": storage_initializer}
    settings["data"]["storageInitializer"] = json.dumps(initializer)
    api.put(settings)
    rights = ("role", "role_binding", "leader_election_role", "leader_election_role_binding", "service_account")
    _install(api, one, signer, objects(*(shipped / f"rbac/{name}.yaml" for name in rights)))
    wait_available(api, one)
    api.put(*_hooks(one, signer, objects(shipped / "webhook/manifests.yaml")), storage_container(storage_initializer))


def storage_container(image: str) -> Object:
    """How KServe reads weights in namespaces that enforce `restricted`: the container that it injects without this is refused there."""
    locked = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    resources = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    container = {"name": "storage-initializer", "image": image, "resources": resources, "securityContext": locked}
    spec = {
        "container": container,
        "supportedUriFormats": [{"prefix": "s3://"}],
        "workloadType": "initContainer",
        "supportsMultiModelDownload": True,
    }
    return {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "ClusterStorageContainer", "metadata": {"name": "default"}, "spec": spec}


def wait_available(api: Api, one: Controller) -> None:
    """Until its Deployment has a ready pod."""
    api.kubectl("rollout", "status", f"deployment/{one.account}", f"--namespace={one.service.namespace}", "--timeout=300s")


def _signer(directory: Path) -> Authority:
    return authority(directory, ROTATOR_NAMES[0], names=ROTATOR_NAMES, rotatable=True)


def _install(api: Api, one: Controller, signer: Authority, rights: Sequence[Object]) -> None:
    """Namespace, rights, certificate, Service and Deployment."""
    service = one.service
    pair = signer.server("tls", [f"{service.name}.{service.namespace}.svc", f"{service.name}.{service.namespace}.svc.cluster.local"])
    files = {"ca.crt": signer.pair.certificate, "ca.key": signer.pair.key, "tls.crt": pair.certificate, "tls.key": pair.key}
    data = {name: base64.b64encode(path.read_bytes()).decode() for name, path in files.items()}
    api.put(_namespace(one), *(_placed(right, service.namespace) for right in rights))
    api.put({"apiVersion": "v1", "kind": "Secret", "metadata": _metadata(one, one.secret), "data": data})
    ports = [{"name": "webhook", "port": 443, "targetPort": WEBHOOK_PORT}]
    api.put(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(one, service.name),
            "spec": {"selector": _labels(one), "ports": ports},
        }
    )
    api.put(_deployment(one))


def _placed(right: Object, namespace: str) -> Object:
    """A right in the controller's namespace, for its account there."""
    placed = copy.deepcopy(right)
    if right["kind"] in ("ServiceAccount", "Role", "RoleBinding"):
        placed["metadata"]["namespace"] = namespace
    for subject in placed.get("subjects", ()):
        subject["namespace"] = namespace
    return placed


def _namespace(one: Controller) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": one.service.namespace}}


def _metadata(one: Controller, name: str) -> Object:
    return {"name": name, "namespace": one.service.namespace}


def _labels(one: Controller) -> dict[str, str]:
    return {"app": one.account}


def _deployment(one: Controller) -> Object:
    container = {
        "name": "manager",
        "image": one.image,
        "imagePullPolicy": "Never",
        "args": list(one.arguments),
        "env": [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}} for name in one.environment],
        "ports": [{"containerPort": WEBHOOK_PORT}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": HEALTH_PORT}, "periodSeconds": 2},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "certificate", "mountPath": CERTIFICATES, "readOnly": True}],
    }
    pod = {
        "serviceAccountName": one.account,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "certificate", "secret": {"secretName": one.secret}}],
        "terminationGracePeriodSeconds": 5,
    }
    template = {"metadata": {"labels": _labels(one)}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": _labels(one)}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _metadata(one, one.account), "spec": spec}


def _hooks(one: Controller, signer: Authority, shipped: Sequence[Object], only: str = "") -> list[Object]:
    """Webhook configurations with the address and the authority of this cluster; `only` keeps the hooks of one resource."""
    bundle = base64.b64encode(signer.pair.certificate.read_bytes()).decode()
    found = []
    for configuration_of in shipped:
        if not configuration_of["kind"].endswith("WebhookConfiguration"):
            continue
        changed = copy.deepcopy(configuration_of)
        changed["metadata"] = {"name": configuration_of["metadata"]["name"]}
        changed["webhooks"] = [hook for hook in changed["webhooks"] if not only or only in str(hook["rules"])]
        for hook in changed["webhooks"]:
            service = {**hook["clientConfig"]["service"], "namespace": one.service.namespace, "name": one.service.name}
            hook["clientConfig"] = {"service": service, "caBundle": bundle}
        found += [changed] if changed["webhooks"] else []
    return found
