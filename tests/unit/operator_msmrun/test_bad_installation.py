"""What is wrong around a run ends in a condition that names the field, or chart value, and the fix; what may mend itself fails no run.

What the kubelet, the scheduler and MLflow say is theirs, word for word; the fake cluster and a fake MLflow only repeat it.
"""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from msm.errors import MSMError, UserError
from msm.store import StoreConfig
from msm_operator.runtime.errors import Forbidden
from msm_operator.runtime.resources import DEPLOYMENTS, INFERENCESERVICES, LOCAL_QUEUES, PODS
from tests.unit.operator_msmrun.cluster import CHAIN, NAMESPACE, Workshop, local_queue, msm_run
from tests.unit.operator_msmrun.test_msmrun_endpoints import SERVED
from tests.unit.operator_msmrun.test_msmrun_tracking import until_said

STORES = {
    "a wrong key": UserError("s3://bucket/p", "refuses these credentials (InvalidAccessKeyId)", "check AWS_ACCESS_KEY_ID"),
    "no bucket": UserError("s3://bucket/p", "there is no such bucket (NoSuchBucket)", "create it, or correct the URI"),
    "no rights in it": UserError("s3://bucket/p", "refuses these credentials (AccessDenied)", "allow put, get, list and delete there"),
}


def refusing(error: MSMError) -> Any:
    def opener(config: StoreConfig) -> Any:
        raise error

    return opener


@pytest.mark.parametrize("error", STORES.values(), ids=STORES)
def test_a_store_that_refuses_is_said_before_a_run_is_accepted(workshop: Workshop, error: UserError) -> None:
    workshop.opener = refusing(error)
    workshop.submit(msm_run(**CHAIN))
    workshop.reconcile()
    accepted = workshop.condition("Accepted")
    assert accepted["status"] != "True"
    assert error.problem in accepted["message"] and error.fix in accepted["message"]
    assert not workshop.jobs()


@pytest.mark.parametrize("error", STORES.values(), ids=STORES)
def test_and_of_one_that_is_at_work_without_failing_it(workshop: Workshop, error: UserError) -> None:
    workshop.submit(msm_run(**CHAIN))
    workshop.reconcile()
    (job,) = workshop.jobs()
    opened, workshop.opener = workshop.opener, refusing(error)
    workshop.reconciler = workshop.make()
    workshop.do(job)
    workshop.reconcile()
    available = workshop.condition("StoreAvailable")
    assert (available["status"], available["reason"]) == ("False", "Refused")
    assert error.problem in available["message"] and error.fix in available["message"]
    workshop.opener = opened
    workshop.clock(30)
    workshop.finish()


def test_a_secret_with_a_wrong_key_in_the_runs_namespace_ends_the_run_with_the_stores_words(workshop: Workshop) -> None:
    """The operator's key is right, the pods' is not: the stage says so itself and is not retried."""
    workshop.submit(msm_run(**CHAIN))
    workshop.reconcile()
    said = '{"exitCode": 2, "reason": "InvalidInput", "message": "s3://bucket/p: refuses these credentials; check AWS_ACCESS_KEY_ID"}'
    workshop.end(workshop.jobs()[0], code=2, message=said)
    workshop.clock(1)
    workshop.reconcile()
    failed = workshop.condition("Failed")
    assert failed["status"] == "True"
    assert "InvalidInput: s3://bucket/p: refuses these credentials; check AWS_ACCESS_KEY_ID" in failed["message"]


def test_a_full_volume_ends_the_run_with_its_path(workshop: Workshop) -> None:
    from msm.stages.program import explained

    def full() -> str:
        raise OSError(28, "No space left on device", "/scratch/model.safetensors")

    record = explained(full, Path("/scratch"))
    workshop.submit(msm_run(**CHAIN))
    workshop.reconcile()
    workshop.end(workshop.jobs()[0], code=int(record.exitCode), message=record.message)
    workshop.clock(1)
    workshop.reconcile()
    assert "/scratch/model.safetensors: cannot be written: No space left on device; free space" in workshop.condition("Failed")["message"]


NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
NO_CLAIM = '0/3 nodes are available: persistentvolumeclaim "disk" not found.'
UNBOUND = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."
WAITING: dict[str, tuple[dict[str, Any], str, str]] = {
    "an image that is not there": (
        {"reason": "ErrImagePull", "message": "registry.example/msm-trainer:1: not found"},
        "ImagePull",
        "not found; correct images.* of the chart",
    ),
    "an image without its pull secret": ({"reason": "ImagePullBackOff", "message": "401 Unauthorized"}, "ImagePull", "images.pullSecrets"),
    "a secret that is not there": (
        {"reason": "CreateContainerConfigError", "message": 'secret "msm-store" not found'},
        "ContainerConfig",
        'secret "msm-store" not found; make it in this namespace',
    ),
}


@pytest.mark.parametrize(("state", "reason", "words"), WAITING.values(), ids=WAITING)
def test_a_pod_that_cannot_start_says_why_and_what_to_do(workshop: Workshop, state: dict[str, Any], reason: str, words: str) -> None:
    workshop.submit(msm_run(**CHAIN))
    workshop.reconcile()
    status = [{"name": "pytorch", "image": "registry.example/msm-trainer:1", "state": {"waiting": state}}]
    workshop.pod(workshop.jobs()[0], "Pending", containerStatuses=status)
    assert progressing(workshop) == reason
    assert words in workshop.condition("Progressing")["message"]


def progressing(workshop: Workshop) -> str:
    """The reason that people see, after a pass."""
    workshop.clock(1)
    workshop.reconcile()
    return str(workshop.condition("Progressing")["reason"])


def unschedulable(message: str) -> dict[str, Any]:
    return {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}


def test_without_a_gpu_in_the_cluster_the_field_that_asks_for_it_is_named(workshop: Workshop) -> None:
    recipe = {"maxLength": 128, "batchTokens": 128, "resources": {"gpusPerNode": 2}}
    workshop.submit(msm_run(training={"midtrain": recipe}, execution={"parallelism": 9}))
    for _ in range(12):
        workshop.clock(1)
        workshop.reconcile()
        for job in workshop.jobs():
            if workshop.stage_of(job).kind == "midtrain":
                workshop.pod(job, "Pending", conditions=[unschedulable(NO_GPU)])
            else:
                workshop.do(job)
    row = next(row for row in workshop.status()["stages"] if row["kind"] == "midtrain")
    assert row["reason"] == "Unschedulable"
    assert row["message"].startswith(NO_GPU)
    assert "ask for fewer GPUs than 2 in spec.training.midtrain.resources.gpusPerNode" in row["message"]


def test_without_a_gpu_for_an_endpoint_the_stage_that_asks_it_says_so(workshop: Workshop) -> None:
    """KServe says no more than that it is being made."""
    workshop.bucket.objects["writer/model.safetensors"] = b"large"
    workshop.submit(msm_run(**SERVED, execution={"parallelism": 2}))
    for _ in range(2):
        workshop.reconcile()
    (service,) = workshop.cluster.of(INFERENCESERVICES)
    status = {"phase": "Pending", "conditions": [unschedulable(NO_GPU)]}
    metadata = {"name": "writer-0", "namespace": NAMESPACE, "labels": service["metadata"]["labels"]}
    workshop.cluster.put(PODS, {"kind": "Pod", "metadata": metadata, "status": status})
    workshop.clock(1)
    workshop.reconcile()
    row = next(row for row in workshop.status()["stages"] if row["kind"] == "outline")
    assert row["reason"] == "EndpointNotReady"
    assert row["message"].startswith(
        f"endpoint writer: Unschedulable: {NO_GPU}; add nodes, or ask for fewer GPUs: serve.gpus of endpoint writer"
    )


def test_a_quota_that_refuses_an_endpoints_pods_is_said_in_its_words(workshop: Workshop) -> None:
    workshop.bucket.objects["writer/model.safetensors"] = b"large"
    workshop.submit(msm_run(**SERVED, execution={"parallelism": 2}))
    for _ in range(2):
        workshop.reconcile()
    (service,) = workshop.cluster.of(INFERENCESERVICES)
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: team, requested: requests.nvidia.com/gpu=1"}
    metadata = {"name": f"{service['metadata']['name']}-predictor", "namespace": NAMESPACE}
    workshop.cluster.put(DEPLOYMENTS, {"kind": "Deployment", "metadata": metadata, "status": {"conditions": [refused]}})
    workshop.clock(1)
    workshop.reconcile()
    row = next(row for row in workshop.status()["stages"] if row["kind"] == "outline")
    assert row["message"] == "endpoint writer: PodsMissing: exceeded quota: team, requested: requests.nvidia.com/gpu=1"


def test_a_volume_that_is_not_bound_is_said_in_the_schedulers_words(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN))
    workshop.reconcile()
    workshop.pod(workshop.jobs()[0], "Pending", conditions=[unschedulable(UNBOUND)])
    assert progressing(workshop) == "Unschedulable"
    assert UNBOUND in workshop.condition("Progressing")["message"]


def test_a_claim_that_is_not_there_is_to_be_made_and_not_nodes_to_be_added(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN))
    workshop.reconcile()
    workshop.pod(workshop.jobs()[0], "Pending", conditions=[unschedulable(NO_CLAIM)])
    assert progressing(workshop) == "Unschedulable"
    said = workshop.condition("Progressing")["message"]
    assert f"{NO_CLAIM}; make the claim in this namespace, or a volume for it, or name another one in spec.execution.scratch" in said


def test_a_resource_quota_that_is_too_small_is_told_by_the_jobs_lack_of_pods(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN))
    workshop.reconcile()
    workshop.clock(61)
    assert progressing(workshop) == "PodsMissing"
    message = workshop.condition("Progressing")["message"]
    assert f"`kubectl describe job {workshop.jobs()[0]['metadata']['name']}`" in message
    assert "a ResourceQuota that is used up" in message


def test_a_queue_that_is_not_there_holds_a_run_back_instead_of_letting_it_past_every_quota(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN, execution={"queueName": "team"}))
    assert progressing(workshop) == "NotInstalled"
    message = workshop.condition("Progressing")["message"]
    assert 'spec.execution.queueName: there is no LocalQueue "team" in namespace team; make it (and install Kueue' in message
    assert not workshop.jobs()
    workshop.cluster.put(LOCAL_QUEUES[0], local_queue("team"))
    workshop.finish()


def test_where_the_operator_may_not_look_for_queues_kueue_is_left_to_tell(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forbidden(*_: object) -> None:
        raise Forbidden("localqueues is forbidden")

    monkeypatch.setattr(workshop.cluster, "get", forbidden)
    workshop.reconciler = workshop.make()
    workshop.submit(msm_run(**CHAIN, execution={"queueName": "team"}))
    workshop.reconcile()
    assert len(workshop.jobs()) == 1


class RefusesItsName(BaseHTTPRequestHandler):
    """A fake MLflow: what the real one (3.17) answers to a Host header that it was not told of."""

    def do_GET(self) -> None:
        self.send_response(403)
        self.end_headers()
        self.wfile.write(b"Invalid Host header - possible DNS rebinding attack detected")

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def refusing_mlflow() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), RefusesItsName)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_an_mlflow_that_refuses_its_name_is_told_which_option_it_lacks_and_the_run_succeeds(
    workshop: Workshop, refusing_mlflow: str
) -> None:
    workshop.reconciler.rooms.tracker.start()
    workshop.submit(msm_run(**CHAIN, tracking={"uri": refusing_mlflow}))
    workshop.finish()
    until_said(workshop, "False")
    said = workshop.condition("TrackingAvailable")
    assert said["reason"] == "Refused"
    assert "--allowed-hosts 127.0.0.1:" in said["message"]
    assert workshop.condition("Succeeded")["status"] == "True"
