"""Endpoints that the cluster serves, inputs of the namespace, stores and images of a run, through the controller's only door."""

from pathlib import Path
from typing import Any

from tests.unit.operator_msmrun.cluster import NAMESPACE, Workshop, msm_run

SERVED: dict[str, Any] = {
    "endpoints": [{"name": "writer", "serve": {"model": "s3://inputs/writer", "gpus": 1}}],
    "corpora": [{"name": "america", "modelSpec": "america", "documents": 20, "synthesize": {"author": "writer"}}],
    "arms": [{"name": "msm", "midtrain": ["america"]}],
    "demonstrations": [],
    "registry": {"model": "x"},
}


def serve(workshop: Workshop, ready: bool = True) -> None:
    """What KServe and its Deployment would say."""
    from msm_operator.runtime.resources import DEPLOYMENTS, INFERENCESERVICES

    (service,) = workshop.cluster.of(INFERENCESERVICES)
    conditions = [{"type": "PredictorReady", "status": "True"}]
    workshop.cluster.put(INFERENCESERVICES, {**service, "status": {"conditions": conditions}})
    count = 1 if ready else 0
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": count, "availableReplicas": count, "observedGeneration": 1}
    name = f"{service['metadata']['name']}-predictor"
    body = {"kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"replicas": 1}, "status": counts}
    workshop.cluster.put(DEPLOYMENTS, body)


def test_an_endpoint_is_made_when_a_stage_needs_it_asked_when_it_really_serves_and_removed_after_the_last(workshop: Workshop) -> None:
    from msm_operator.runtime.resources import INFERENCESERVICES, NETWORK_POLICIES, SERVICE_ACCOUNTS, SERVING_RUNTIMES

    workshop.bucket.objects["writer/model.safetensors"] = b"large"
    workshop.submit(msm_run(**SERVED, execution={"parallelism": 2}))
    workshop.reconcile()
    workshop.reconcile()
    assert workshop.condition("ServingAvailable")["status"] == "True"
    parts = (INFERENCESERVICES, NETWORK_POLICIES, SERVICE_ACCOUNTS, SERVING_RUNTIMES)
    assert all(len(workshop.cluster.of(kind)) == 1 for kind in parts)
    asked = next(r for r in workshop.status()["stages"] if r["kind"] == "outline")
    assert asked["reason"] == "EndpointNotReady"
    serve(workshop, ready=False)
    workshop.reconcile()
    assert not any(workshop.stage_of(j).kind == "outline" for j in workshop.jobs()), "KServe says ready, and no pod is"
    serve(workshop)
    workshop.reconcile()
    job = next(j for j in workshop.jobs() if workshop.stage_of(j).kind == "outline")
    environment = {e["name"]: e.get("value", "") for e in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    name = workshop.cluster.of(INFERENCESERVICES)[0]["metadata"]["name"]
    assert f"http://{name}-predictor.{NAMESPACE}.svc.cluster.local/v1" in environment["MSM_STAGE"]
    workshop.finish()
    assert not any(workshop.cluster.of(kind) for kind in parts)


def test_a_suspended_run_serves_nothing(workshop: Workshop) -> None:
    from msm_operator.runtime.resources import INFERENCESERVICES

    workshop.bucket.objects["writer/model.safetensors"] = b"large"
    workshop.submit(msm_run(**SERVED))
    for _ in range(3):
        workshop.reconcile()
        for job in workshop.jobs():
            workshop.do(job)
    assert workshop.cluster.of(INFERENCESERVICES)
    workshop.change(suspend=True)
    workshop.reconcile()
    assert not workshop.cluster.of(INFERENCESERVICES)


def test_without_kserve_the_stages_that_need_it_wait(workshop: Workshop) -> None:
    workshop.bucket.objects["writer/model.safetensors"] = b"large"
    workshop.serving = False
    workshop.submit(msm_run(**SERVED, execution={"parallelism": 2}))
    workshop.reconcile()
    workshop.reconcile()
    assert workshop.condition("ServingAvailable")["reason"] == "NotInstalled"
    assert workshop.condition("Failed")["status"] == "False"


def test_contents_of_a_config_map_are_copied_at_acceptance(workshop: Workshop) -> None:
    from msm.store.blobs import get_blob
    from msm_operator.runtime.resources import CONFIGMAPS

    specs = [{"name": "america", "source": {"configMapKeyRef": {"name": "specs", "key": "america.md"}}}]
    workshop.submit(msm_run(modelSpecs=specs))
    workshop.reconcile()
    assert "there is no key america.md in a ConfigMap specs" in workshop.condition("Accepted")["message"]
    text = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "specs", "namespace": NAMESPACE}, "data": {"america.md": "Be."}}
    workshop.cluster.put(CONFIGMAPS, text)
    workshop.clock(60)
    workshop.reconcile()
    assert workshop.condition("Accepted")["status"] == "True"
    sha = workshop.plan.resolution.blob("modelSpecs.america")
    assert sha is not None and get_blob(workshop.store, sha) == b"Be."


def test_a_plan_that_is_gone_stops_the_run_and_is_not_made_anew(workshop: Workshop) -> None:
    workshop.submit(msm_run())
    workshop.reconcile()
    documents = workshop.documents()
    workshop.store.delete(f"runs/{documents.id}/plan.json")
    workshop.reconciler = workshop.make()
    workshop.reconcile()
    assert workshop.condition("StoreAvailable")["reason"] == "Damaged"
    assert "plan.json is gone" in workshop.condition("StoreAvailable")["message"]
    assert not list(workshop.store.list(f"runs/{documents.id}/plan.json"))


def test_an_upgraded_operator_keeps_the_image_that_a_run_was_accepted_with(workshop: Workshop) -> None:
    from msm_operator.backends.installation import Installation

    workshop.submit(msm_run())
    workshop.reconcile()
    workshop.installation = Installation(image="trainer:2", store=workshop.config)
    workshop.reconciler = workshop.make()
    workshop.do(workshop.jobs()[0])
    workshop.reconcile()
    workshop.reconcile()
    (job,) = workshop.jobs()
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == "trainer:1"


def test_a_run_of_its_own_store_is_only_for_installations_that_may_read_its_secret(tmp_path: Path) -> None:
    import base64

    from msm_operator.runtime.resources import SECRETS

    storage = {"uri": "s3://mine/place", "endpoint": "http://minio:9000", "secretRef": {"name": "mine", "key": "x"}}
    shared = Workshop(tmp_path / "shared")
    shared.submit(msm_run(storage=storage))
    shared.reconcile()
    assert "spec.storage" in shared.condition("Accepted")["message"]
    own = Workshop(tmp_path / "own", namespaced=True)
    opened: list[Any] = []
    file_store = own.opener
    own.opener = lambda config: opened.append(config) or file_store(own.config)  # type: ignore[func-returns-value,assignment]
    own.submit(msm_run(storage=storage))
    own.reconcile()
    assert "there is no Secret mine" in own.condition("Accepted")["message"]
    data = {
        name: base64.b64encode(value).decode() for name, value in {"AWS_ACCESS_KEY_ID": b"me", "AWS_SECRET_ACCESS_KEY": b"hush"}.items()
    }
    own.cluster.put(SECRETS, {"metadata": {"name": "mine", "namespace": NAMESPACE}, "data": data})
    own.clock(60)
    own.reconcile()
    assert own.condition("Accepted")["status"] == "True"
    assert (opened[-1].uri, opened[-1].access_key, opened[-1].secret_key) == ("s3://mine/place", "me", "hush")
    assert "hush" not in str(own.cluster.objects) and "hush" not in str(own.status())


def test_a_pod_that_outlives_its_stages_commit_is_ended(workshop: Workshop) -> None:
    workshop.submit(msm_run())
    workshop.reconcile()
    (job,) = workshop.jobs()
    workshop.pod(job)
    workshop.commit(workshop.stage_of(job))
    workshop.reconciler = workshop.make()
    workshop.reconcile()
    assert job["metadata"]["name"] in {j["metadata"]["name"] for j in workshop.jobs()}
    workshop.clock(90)
    workshop.reconcile()
    assert job["metadata"]["name"] not in {j["metadata"]["name"] for j in workshop.jobs()}
