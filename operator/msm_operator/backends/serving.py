"""An endpoint of a run in the cluster: a vLLM behind a KServe InferenceService, and when it really serves.

Pure. Neighbours: the controller applies these when a stage needs the endpoint and deletes them after the last. Invariant: everything is
owned by the run; only its pods reach the server. Readiness is ours: KServe says Ready while no pod is, when the Deployment's strategy lets
it be "available" with none (measured with 0.20: for ever), so the Deployment is asked, and its strategy is Recreate, which also needs no
second GPU for a roll-out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msm.api.inputs import Serve
from msm_operator.backends.installation import Installation
from msm_operator.backends.names import ENDPOINT, MANAGER, RUN_UID, common_labels, endpoint_name, owner
from msm_operator.backends.weights import Weights, arguments, storage
from msm_operator.runtime.resources import INFERENCESERVICES, NETWORK_POLICIES, SERVICE_ACCOUNTS, SERVING_RUNTIMES, Resource

PORT = 8080
COMPACT = '--structured-outputs-config={"backend": "xgrammar", "disable_any_whitespace": true}'
"""Else a small model fills an answer in JSON with blank lines, which the schema allows, until it is cut."""
PARTS = (SERVICE_ACCOUNTS, SERVING_RUNTIMES, NETWORK_POLICIES, INFERENCESERVICES)
"""What an endpoint consists of, in the order it is made."""


@dataclass(frozen=True, slots=True)
class Served:
    """An endpoint to serve: its name in the run, how, and which weights."""

    name: str
    serve: Serve
    weights: Weights


def bodies(run: Mapping[str, Any], served: Served, installation: Installation, store_secret: str | None) -> list[dict[str, Any]]:
    """Every object of an endpoint, in the order of `PARTS`."""
    name = endpoint_name(run["metadata"]["name"], run["metadata"]["uid"], served.name, run["metadata"]["namespace"])
    metadata = {
        "name": name,
        "namespace": run["metadata"]["namespace"],
        "labels": {**common_labels(run), ENDPOINT: served.name},
        "ownerReferences": [owner(run)],
    }
    specs: tuple[dict[str, Any], ...] = (
        {"automountServiceAccountToken": False, **({"secrets": [{"name": store_secret}]} if store_secret is not None else {})},
        {"spec": _runtime(served, installation)},
        {"spec": _policy(run, name)},
        {"spec": _service(served, name, installation)},
    )
    return [_body(resource, metadata, spec) for resource, spec in zip(PARTS, specs, strict=True)]


def _body(resource: Resource, metadata: Mapping[str, Any], rest: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(metadata)
    if resource is INFERENCESERVICES:
        found["annotations"] = {"serving.kserve.io/deploymentMode": "Standard", "serving.kserve.io/autoscalerClass": "none"}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": found, **rest}


def _runtime(served: Served, installation: Installation) -> dict[str, Any]:
    """A runtime of our own, so that what the cluster's administrator installed does not matter."""
    gpus = served.serve.gpus
    told = [f"--port={PORT}", "--enable-prefix-caching", "--enable-prompt-tokens-details", COMPACT, *arguments(served.weights)]
    probe = {"httpGet": {"path": "/v1/models", "port": PORT}}
    container: dict[str, Any] = {
        "name": "kserve-container",
        "image": installation.serve_image,
        "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        "args": [*([f"--tensor-parallel-size={gpus}"] if gpus > 1 else []), *told],
        "env": [
            {"name": "HOME", "value": "/tmp"},
            *({"name": name, "value": value} for name, value in sorted(installation.serve_env.items())),
        ],
        "ports": [{"containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": {**probe, "periodSeconds": 10, "failureThreshold": 180},
        "readinessProbe": {**probe, "periodSeconds": 5},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    if gpus:
        container["resources"] = {"limits": {installation.gpu_resource: str(gpus)}}
    tolerations = {"tolerations": [{"key": installation.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}]} if gpus else {}
    return {
        "supportedModelFormats": [{"name": MANAGER, "version": "1", "autoSelect": False}],
        "containers": [container],
        "volumes": [
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": installation.shared_memory}},
            {"name": "tmp", "emptyDir": {}},
        ],
        **tolerations,
    }


def _policy(run: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Only pods of the same run reach the server."""
    peer = {"podSelector": {"matchLabels": {RUN_UID: run["metadata"]["uid"]}}}
    return {
        "podSelector": {"matchLabels": {"serving.kserve.io/inferenceservice": name}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [peer], "ports": [{"port": PORT, "protocol": "TCP"}]}],
    }


def _service(served: Served, name: str, installation: Installation) -> dict[str, Any]:
    replicas, weights = served.serve.replicas, storage(served.weights)
    return {
        "predictor": {
            "serviceAccountName": name,
            "automountServiceAccountToken": False,
            "minReplicas": replicas,
            "maxReplicas": replicas,
            "deploymentStrategy": {"type": "Recreate"},
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": installation.user,
                "fsGroup": installation.user,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **weights,
            "model": {"modelFormat": {"name": MANAGER, "version": "1"}, "runtime": name, **weights.get("model", {})},
        }
    }


def is_ready(service: Mapping[str, Any] | None, deployment: Mapping[str, Any] | None) -> bool:
    """Whether an endpoint serves what was asked for last: KServe says so, and so does the Deployment, of its newest generation."""
    if service is None or deployment is None:
        return False
    conditions = {c.get("type"): c.get("status") for c in service.get("status", {}).get("conditions") or ()}
    status, wanted = deployment.get("status", {}), deployment.get("spec", {}).get("replicas", 1)
    counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")}
    current = status.get("observedGeneration") == deployment["metadata"].get("generation")
    return conditions.get("PredictorReady") == "True" and current and counts == {wanted} and wanted >= 1


def why_not(service: Mapping[str, Any] | None) -> str:
    """What KServe says of an endpoint that does not serve."""
    if service is None:
        return "it is being made"
    model = service.get("status", {}).get("modelStatus", {})
    failure = model.get("lastFailureInfo", {})
    if failure:
        return f"{failure.get('reason', 'failed')}: {failure.get('message', '')}"
    states = [f"{c.get('type')}: {c.get('message')}" for c in service.get("status", {}).get("conditions") or () if c.get("message")]
    return states[0] if states else str(model.get("transitionStatus", "it is starting"))


def base_url(service: Mapping[str, Any] | None, name: str, namespace: str) -> str:
    """The address to ask, inside the cluster; never `status.url`, which is on a domain for the outside."""
    address = (service or {}).get("status", {}).get("address", {}).get("url") or f"http://{name}-predictor.{namespace}.svc.cluster.local"
    return f"{str(address).rstrip('/')}/v1"
