"""Every object of the chart and of the first-try manifests, as the API server and kubeconform see it."""

import copy
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from msm.api.crd import DEFINITIONS
from tests.cluster.control_plane import ControlPlane, NotBuilt
from tests.cluster.schemas import kubeconform
from tests.cluster.test_chart.release import HOME, RESTRICTED
from tests.unit.chart.helm import ROOT, rendered, templates
from tests.unit.chart.test_chart_rendering import EVERYTHING

Object = dict[str, Any]
FIRST_TRY = sorted((ROOT / "manifests" / "first-try").glob("*.yaml"))
CHOICES = {
    "defaults": (),
    "everything": EVERYTHING,
    "namespaced": ("--set", f"watchNamespaces={{{HOME}}}", "--set", "serving.runtimes=always"),
}


@pytest.fixture(scope="module")
def cluster(kserve: ControlPlane, definitions: ControlPlane) -> ControlPlane:
    """With the definitions of KServe and ours, and a namespace that enforces Pod Security `restricted`."""
    kserve.api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME, "labels": RESTRICTED}})
    return kserve


def first_try() -> list[Object]:
    found = [one for file in FIRST_TRY for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    return [one for one in found if one and "kind" in one]


def known(objects: list[Object]) -> list[Object]:
    """Without the ServiceMonitor, whose definition this cluster does not have."""
    return [one for one in objects if one["kind"] != "ServiceMonitor"]


def check(cluster: ControlPlane, objects: list[Object]) -> None:
    """Apply each, dry: nothing is refused, nothing warned of; the pods that come of them without their accounts, which are not there."""
    api = cluster.api
    for one in (one for one in objects if one["kind"] != "Pod"):
        placed = copy.deepcopy(one)
        reply = api.apply(api.path(placed), placed, fieldValidation="Strict", dryRun="All")
        assert reply.status in (200, 201), f"{one['kind']} {one['metadata']['name']}: {reply.message}"
        assert not reply.warnings, f"{one['kind']} {one['metadata']['name']}: {reply.warnings}"
    for name, spec in templates(objects).items():
        alone = {key: value for key, value in spec.items() if key not in ("serviceAccountName", "priorityClassName")}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried", "namespace": HOME}, "spec": alone}
        reply = api.request("POST", f"/api/v1/namespaces/{HOME}/pods", pod, fieldValidation="Strict", dryRun="All")
        assert reply.status == 201, f"{name}: {reply.message}"


@pytest.mark.parametrize("arguments", CHOICES.values(), ids=CHOICES)
def test_the_api_server_takes_every_object_of_the_chart_without_a_warning(cluster: ControlPlane, arguments: tuple[str, ...]) -> None:
    check(cluster, [*known(rendered(*arguments)), *(one.to_dict() for one in DEFINITIONS)])


def test_the_api_server_takes_what_is_there_for_a_first_try(cluster: ControlPlane) -> None:
    assert {one["kind"] for one in first_try()} >= {"Deployment", "Service", "PersistentVolumeClaim", "NetworkPolicy"}
    check(cluster, first_try())


def test_kubeconform_agrees_by_the_servers_own_schemas(cluster: ControlPlane, tmp_path: Path) -> None:
    objects = [*known(rendered(*EVERYTHING)), *first_try(), *(one.to_dict() for one in DEFINITIONS)]
    try:
        assert kubeconform(cluster.api, tmp_path, objects) == ""
        wrong = copy.deepcopy(next(one for one in objects if one["kind"] == "Deployment"))
        wrong["spec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
        assert "volumeMount" in kubeconform(cluster.api, tmp_path, [wrong])
    except NotBuilt as missing:
        pytest.skip(f"cluster lane: {missing}")


@pytest.mark.parametrize("name", ["msm-vllm-cpu", "msm-vllm-gpu"])
def test_kserve_takes_our_runtimes(cluster: ControlPlane, namespace: str, name: str) -> None:
    api = cluster.api
    objects = rendered("--set", "serving.runtimes=always", "--set", f"watchNamespaces={{{namespace}}}")
    api.put(*(one for one in objects if one["kind"] == "ServingRuntime"))
    told = ["--model=/mnt/models", "--served-model-name=cheese"]
    model = {"runtime": name, "modelFormat": {"name": "huggingface"}, "storageUri": "s3://bucket/model", "args": told}
    annotations = {"serving.kserve.io/deploymentMode": "Standard", "serving.kserve.io/autoscalerClass": "none"}
    metadata = {"name": "served", "namespace": namespace, "annotations": annotations, "labels": {"modelspec.dev/run-uid": "u1"}}
    predictor = {"minReplicas": 1, "maxReplicas": 1, "deploymentStrategy": {"type": "Recreate"}, "model": model}
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": predictor},
    }
    api.put(service)
    until, path = time.monotonic() + 60, f"/apis/apps/v1/namespaces/{namespace}/deployments/served-predictor"
    while (reply := api.request("GET", path)).status != 200:
        assert time.monotonic() < until, str(api.get("inferenceservice", "served", "-n", namespace)["status"])
        time.sleep(0.5)
    template = reply.body["spec"]["template"]
    container = template["spec"]["containers"][0]
    assert container["args"] == ["--port=8080", "--enable-prefix-caching", *told]
    assert container["resources"].get("limits", {}).get("nvidia.com/gpu") == ("1" if name.endswith("gpu") else None)
    assert template["metadata"]["labels"]["modelspec.dev/run-uid"] == "u1", "the wall of a run selects its servers by this label"
