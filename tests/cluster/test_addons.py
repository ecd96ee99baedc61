"""Controllers of other projects on the control plane, each doing the one thing that the operator needs of it."""

import json
from typing import Any

from tests.cluster.control_plane import ControlPlane, Refused
from tests.cluster.test_control_plane import POD, conditions, eventually

FAKE = "fake.modelspec.dev/"
Object = dict[str, Any]


def replica(**annotations: str) -> Object:
    marks = {f"{FAKE}{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {
        "replicas": 1,
        "restartPolicy": "Never",
        "template": {"metadata": {"annotations": marks}, "spec": {"containers": [{**POD["containers"][0], "name": "pytorch"}]}},
    }


def pytorch_job(name: str, namespace: str, labels: dict[str, str] | None = None, suspend: bool = False, **annotations: str) -> Object:
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "spec": {
            "runPolicy": {"cleanPodPolicy": "Running", "suspend": suspend},
            "pytorchReplicaSpecs": {"Master": replica(**annotations)},
        },
    }


def status(plane: ControlPlane, kind: str, name: str, namespace: str) -> set[str]:
    return conditions(plane.api.get(kind, name, "-n", namespace).get("status") or {})


def test_a_pytorch_job_succeeds_and_fails_as_its_pods_do(training_operator: ControlPlane, namespace: str) -> None:
    api = training_operator.api
    api.put(pytorch_job("good", namespace, exit_code="0", run_for="1s"), pytorch_job("bad", namespace, exit_code="137", reason="OOMKilled"))
    eventually(lambda: "Succeeded" in status(training_operator, "pytorchjob", "good", namespace))
    eventually(lambda: "Failed" in status(training_operator, "pytorchjob", "bad", namespace))
    pod = api.get("pod", "bad-master-0", "-n", namespace)
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "OOMKilled"


def test_its_webhook_refuses_a_container_of_another_name(training_operator: ControlPlane, namespace: str) -> None:
    job = pytorch_job("wrong", namespace)
    job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]["name"] = "main"
    try:
        training_operator.api.put(job)
    except Refused as refused:
        assert "pytorch" in str(refused)
    else:
        raise AssertionError("it was taken")


RUNTIME: Object = {
    "supportedModelFormats": [{"name": "fake", "version": "1", "autoSelect": False}],
    "containers": [
        {"name": "kserve-container", "image": "example.invalid/vllm:1", "args": ["--model=/mnt/models"], "ports": [{"containerPort": 8080}]}
    ],
}


def inference_service(name: str, namespace: str) -> Object:
    model = {"runtime": "fake", "modelFormat": {"name": "fake"}, "storageUri": "s3://bucket/model"}
    predictor = {"minReplicas": 1, "deploymentStrategy": {"type": "Recreate"}, "annotations": {f"{FAKE}start-delay": "2s"}, "model": model}
    marks = {"serving.kserve.io/deploymentMode": "Standard", "serving.kserve.io/autoscalerClass": "none"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": namespace, "annotations": marks},
        "spec": {"predictor": predictor},
    }


def test_an_inference_service_becomes_ready_when_its_pod_does(kserve: ControlPlane, namespace: str) -> None:
    runtime = {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime", "metadata": {"name": "fake", "namespace": namespace}}
    kserve.api.put({**runtime, "spec": RUNTIME}, inference_service("llm", namespace))
    eventually(lambda: bool(kserve.api.get("isvc", "llm", "-n", namespace).get("status")))
    assert "Ready" not in status(kserve, "isvc", "llm", namespace)
    eventually(lambda: "Ready" in status(kserve, "isvc", "llm", namespace))
    deployment = kserve.api.get("deployment", "llm-predictor", "-n", namespace)
    assert deployment["status"]["readyReplicas"] == 1


def queues(namespace: str) -> list[Object]:
    version = "kueue.x-k8s.io/v1beta2"
    resources = [{"name": "pods", "nominalQuota": 1}]
    groups = [{"coveredResources": ["pods"], "flavors": [{"name": "fake", "resources": resources}]}]
    cluster = {"namespaceSelector": {}, "resourceGroups": groups}
    return [
        {"apiVersion": version, "kind": "ResourceFlavor", "metadata": {"name": "fake"}, "spec": {"nodeLabels": {"type": "kwok"}}},
        {"apiVersion": version, "kind": "ClusterQueue", "metadata": {"name": namespace}, "spec": cluster},
        {
            "apiVersion": version,
            "kind": "LocalQueue",
            "metadata": {"name": "queue", "namespace": namespace},
            "spec": {"clusterQueue": namespace},
        },
    ]


def test_a_suspended_job_starts_when_its_queue_has_room(kueue: ControlPlane, namespace: str) -> None:
    labels = {"kueue.x-k8s.io/queue-name": "queue"}
    kueue.api.put(*queues(namespace))
    kueue.api.put(pytorch_job("first", namespace, labels, suspend=True))
    eventually(lambda: "Running" in status(kueue, "pytorchjob", "first", namespace))
    kueue.api.put(pytorch_job("second", namespace, labels, suspend=True, exit_code="0"))
    eventually(lambda: len(json.loads(kueue.api.kubectl("get", "workloads", "-n", namespace, "-o", "json"))["items"]) == 2)
    assert "Running" not in status(kueue, "pytorchjob", "second", namespace)
    kueue.api.kubectl("annotate", "pod", "first-master-0", "-n", namespace, f"{FAKE}exit-code=0")
    eventually(lambda: "Succeeded" in status(kueue, "pytorchjob", "second", namespace))
