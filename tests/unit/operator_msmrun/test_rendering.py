"""What an attempt and an endpoint look like as Kubernetes objects."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msm.api import parse_run
from msm.plan import Plan, Resolution, Resolved, plan_run
from msm.stages import contract
from msm.store import StoreConfig, open_store
from msm_operator.backends.installation import Installation
from msm_operator.backends.merge import merge
from msm_operator.backends.names import endpoint_name, job_name
from msm_operator.backends.serving import Served, bodies, is_ready
from msm_operator.backends.weights import Weights
from msm_operator.controllers.attempts import attempt
from msm_operator.controllers.documents import ClusterRecord, Documents
from tests.finished import run_data

OBJECT = {
    "apiVersion": "modelspec.dev/v1alpha1",
    "kind": "MSMRun",
    "metadata": {"name": "cheese", "namespace": "team", "uid": "0f8fad5b-d9cb-469f-a165-70867728950e"},
}
INSTALLATION = Installation(image="trainer@sha256:1", hub_secret="hub", stage_resources={"midtrain": {"requests": {"cpu": "4"}}})
S3 = StoreConfig("s3://bucket/prefix", endpoint="http://minio:9000", access_key="AKIA", secret_key="hush")


def documents(tmp_path: Path, config: StoreConfig = S3, **spec: Any) -> Documents:
    run = parse_run(run_data(seeds=[0], **spec))
    names = ("baseModel", "modelSpecs.america", "evals.values.items")
    inputs = {name: Resolved(identity=f"sha256:{i:064x}", location=f"blob:sha256:{i:064x}") for i, name in enumerate(names)}
    plan: Plan = plan_run(run, Resolution(inputs=inputs, precision="float32"))
    where = ClusterRecord(namespace="team", name="cheese", uid=OBJECT["metadata"]["uid"], image="trainer@sha256:1", serve_image="vllm:1")  # type: ignore[index]
    return Documents("cheese-0f8fad5bd9cb", run, plan, where, open_store(StoreConfig(f"file://{tmp_path}")), config, plan.digest)


def body(found: Documents, kind: str, number: int = 1) -> dict[str, Any]:
    stage = next(s for s in found.plan.stages if s.kind == kind)
    return attempt(OBJECT, found, stage, number, {}, INSTALLATION)


def container(obj: dict[str, Any]) -> dict[str, Any]:
    template = obj["spec"].get("template") or next(iter(obj["spec"]["pytorchReplicaSpecs"].values()))["template"]
    return next(c for c in template["spec"]["containers"] if c["name"] == "pytorch")


def pod(obj: dict[str, Any]) -> dict[str, Any]:
    template = obj["spec"].get("template") or next(iter(obj["spec"]["pytorchReplicaSpecs"].values()))["template"]
    spec: dict[str, Any] = template["spec"]
    return spec


def env(obj: dict[str, Any]) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container(obj)["env"]}


def test_training_on_one_machine_is_a_pytorchjob_with_a_master_alone(tmp_path: Path) -> None:
    job = body(documents(tmp_path), "midtrain")
    assert (job["kind"], job["apiVersion"]) == ("PyTorchJob", "kubeflow.org/v1")
    assert set(job["spec"]["pytorchReplicaSpecs"]) == {"Master"}
    assert "elasticPolicy" not in job["spec"]
    master = job["spec"]["pytorchReplicaSpecs"]["Master"]
    assert (master["replicas"], master["restartPolicy"]) == (1, "Never")
    assert job["spec"]["runPolicy"] == {"cleanPodPolicy": "Running"}
    assert container(job)["command"] == ["python", "-m", "msm.stages"]


def test_training_on_several_machines_is_workers_alone_that_meet_by_c10d(tmp_path: Path) -> None:
    recipe = {"maxLength": 128, "batchTokens": 128, "resources": {"nodes": 4, "gpusPerNode": 8}}
    training = {"method": "lora", "midtrain": recipe}
    job = body(documents(tmp_path, training=training), "midtrain")
    assert set(job["spec"]["pytorchReplicaSpecs"]) == {"Worker"}, "a Master's workers get an init container that restricted refuses"
    assert job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] == 4
    policy = job["spec"]["elasticPolicy"]
    assert (policy["minReplicas"], policy["maxReplicas"], policy["rdzvBackend"], policy["maxRestarts"]) == (4, 4, "c10d", 0)
    assert job["spec"]["nprocPerNode"] == "8"
    assert container(job)["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    assert container(job)["resources"]["requests"] == {"cpu": "4"}
    assert pod(job)["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert container(job)["ports"][0]["name"] == "pytorchjob-port"


def test_anything_else_is_a_job_that_kubernetes_never_repeats(tmp_path: Path) -> None:
    job = body(documents(tmp_path), "evaluate")
    assert (job["kind"], job["apiVersion"], job["spec"]["backoffLimit"]) == ("Job", "batch/v1", 0)
    assert pod(job)["restartPolicy"] == "Never"
    assert "suspend" not in job["spec"] and "activeDeadlineSeconds" not in job["spec"]


def test_a_stage_pod_complies_with_pod_security_restricted_and_has_no_rights(tmp_path: Path) -> None:
    for kind in ("fetch", "midtrain", "evaluate"):
        spec, one = pod(body(documents(tmp_path), kind)), container(body(documents(tmp_path), kind))
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounted = {m["mountPath"]: m["name"] for m in one["volumeMounts"]}
        volumes = {v["name"]: v for v in spec["volumes"]}
        assert volumes[mounted["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
        assert {"/scratch", "/tmp", "/cache"} <= set(mounted)
        assert spec["terminationGracePeriodSeconds"] == int(env(body(documents(tmp_path), kind))[contract.GRACE])
        assert one["terminationMessagePath"] == env(body(documents(tmp_path), kind))[contract.TERMINATION_LOG]


def test_the_stage_finds_its_document_and_store_in_the_environment_and_secrets_by_reference_alone(tmp_path: Path) -> None:
    found = documents(tmp_path)
    job = body(found, "midtrain")
    assert contract.decode_stage(env(job)).kind == "midtrain"
    assert StoreConfig.from_environ(env(job)) == StoreConfig("s3://bucket/prefix", endpoint="http://minio:9000")
    assert container(job)["envFrom"] == [{"secretRef": {"name": "msm-store"}}]
    assert "hush" not in str(job) and "AKIA" not in str(job)
    assert env(body(found, "fetch"))["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert "HF_TOKEN" not in env(job), "only what downloads gets it"


def test_only_a_stage_that_asks_a_language_model_gets_its_key(tmp_path: Path) -> None:
    judge = {"baseURL": "http://x/v1", "model": "j", "apiKeySecretRef": {"name": "keys", "key": "judge"}}
    corpus = {"name": "america", "modelSpec": "america", "documents": 20, "synthesize": {"author": "author"}}
    found = documents(tmp_path, endpoints=[{"name": "author", "openai": judge}], corpora=[corpus])
    assert env(body(found, "write"))["OPENAI_API_KEY_AUTHOR"] == {"secretKeyRef": {"name": "keys", "key": "judge"}}
    assert not any("OPENAI" in name for name in env(body(found, "midtrain")))


def test_a_pod_template_is_merged_but_the_contract_stands(tmp_path: Path) -> None:
    template = {
        "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}, "labels": {"modelspec.dev/run": "other"}},
        "spec": {
            "nodeSelector": {"gpu": "h200"},
            "automountServiceAccountToken": True,
            "restartPolicy": "Always",
            "tolerations": [{"key": "team", "operator": "Exists"}],
            "containers": [
                {
                    "name": "pytorch",
                    "command": ["sh"],
                    "args": ["-c", "evil"],
                    "env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "MSM_STAGE", "value": "{}"}],
                    "resources": {"limits": {"memory": "64Gi"}},
                },
                {"name": "watcher", "image": "watch:1"},
            ],
            "volumes": [{"name": "scratch", "emptyDir": None, "persistentVolumeClaim": {"claimName": "fast"}}],
        },
    }
    recipe = {"maxLength": 128, "batchTokens": 128, "resources": {"gpusPerNode": 2}, "podTemplate": template}
    job = body(documents(tmp_path, training={"method": "lora", "midtrain": recipe}), "midtrain")
    spec, one = pod(job), container(job)
    assert spec["nodeSelector"] == {"gpu": "h200"}
    assert (spec["automountServiceAccountToken"], spec["restartPolicy"]) == (False, "Never")
    assert [t["key"] for t in spec["tolerations"]] == ["nvidia.com/gpu", "team"]
    assert one["command"] == ["python", "-m", "msm.stages"] and "args" not in one
    assert env(job)["NCCL_DEBUG"] == "INFO"
    assert contract.decode_stage(env(job)).kind == "midtrain"
    assert one["resources"]["limits"] == {"nvidia.com/gpu": "2", "memory": "64Gi"}
    assert [c["name"] for c in spec["containers"]] == ["pytorch", "watcher"]
    assert next(v for v in spec["volumes"] if v["name"] == "scratch") == {"name": "scratch", "persistentVolumeClaim": {"claimName": "fast"}}
    labels = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["metadata"]["labels"]
    assert labels["modelspec.dev/run"] == "cheese", "caches select by it"


def test_kueue_is_asked_by_a_label_on_the_job(tmp_path: Path) -> None:
    job = body(documents(tmp_path, execution={"queueName": "team", "priorityClassName": "low"}), "midtrain")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert pod(job)["priorityClassName"] == "low"
    assert "suspend" not in job["spec"]["runPolicy"]


def test_rendering_the_same_attempt_twice_gives_the_same_object(tmp_path: Path) -> None:
    assert body(documents(tmp_path), "finetune") == body(documents(tmp_path), "finetune")


words = st.text(st.characters(codec="ascii", exclude_categories=("Cc",)), min_size=1, max_size=80)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(run=st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True), stage=words, number=st.integers(1, 9999))
def test_names_are_dns_labels_with_room_for_what_is_appended(run: str, stage: str, number: int) -> None:
    name = job_name(run, "uid", stage, "f" * 64, number)
    assert len(f"{name}-worker-1023") <= 63
    assert name[0].isalpha() and name[-1].isalnum() and all(c.isalnum() or c == "-" for c in name) and name == name.lower()


@settings(max_examples=40, deadline=None)
@given(
    one=st.tuples(words, words, words, st.integers(1, 99)),
    other=st.tuples(words, words, words, st.integers(1, 99)),
)
def test_different_attempts_have_different_names(one: tuple[str, str, str, int], other: tuple[str, str, str, int]) -> None:
    names = {job_name("run", uid, stage, stage + print_, number) for uid, stage, print_, number in (one, other)}
    assert (len(names) == 1) == ((one[0], one[1], one[1] + one[2], one[3]) == (other[0], other[1], other[1] + other[2], other[3]))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "spec", "env", "name"]), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(ours=st.dictionaries(st.text(max_size=4), json_values, max_size=4))
def test_merging_nothing_changes_nothing(ours: dict[str, Any]) -> None:
    assert merge(ours, {}) == ours


@settings(max_examples=40, deadline=None)
@given(theirs=st.dictionaries(st.sampled_from(["metadata", "spec", "env", "containers", "tolerations"]), json_values, max_size=4))
def test_no_template_breaks_the_merge(theirs: dict[str, Any]) -> None:
    ours = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "pytorch", "env": []}], "tolerations": []}}
    merge(ours, theirs)


SERVE = {"model": "hf://org/writer", "gpus": 4, "replicas": 2}


def endpoint() -> list[dict[str, Any]]:
    from msm.api.inputs import Serve

    return bodies(
        OBJECT, Served("writer", Serve.model_validate(SERVE), Weights("hf://org/writer:abc", "writer")), INSTALLATION, "msm-store"
    )


def test_an_endpoint_is_owned_by_the_run_and_reached_by_its_pods_alone() -> None:
    account, runtime, policy, service = endpoint()
    name = endpoint_name("cheese", OBJECT["metadata"]["uid"], "writer", OBJECT["metadata"]["namespace"])  # type: ignore[index]
    assert {o["metadata"]["name"] for o in endpoint()} == {name}
    assert all(o["metadata"]["ownerReferences"][0]["uid"] == OBJECT["metadata"]["uid"] for o in endpoint())  # type: ignore[index]
    assert account["automountServiceAccountToken"] is False and account["secrets"] == [{"name": "msm-store"}]
    (source,) = policy["spec"]["ingress"][0]["from"]
    assert source == {"podSelector": {"matchLabels": {"modelspec.dev/run-uid": OBJECT["metadata"]["uid"]}}}  # type: ignore[index]
    predictor = service["spec"]["predictor"]
    assert predictor["deploymentStrategy"] == {"type": "Recreate"}, "with any other KServe says Ready when nothing is"
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 2)
    assert predictor["model"]["storageUri"] == "hf://org/writer:abc"
    assert "--tensor-parallel-size=4" in runtime["spec"]["containers"][0]["args"]


READY = {"status": {"conditions": [{"type": "PredictorReady", "status": "True"}, {"type": "Ready", "status": "True"}]}}
COUNTS = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1, "observedGeneration": 2}


def deployment(**status: Any) -> dict[str, Any]:
    found = {name: value for name, value in {**COUNTS, **status}.items() if value is not None}
    return {"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": found}


GATES = {
    "all agree": (READY, deployment(), True),
    "kserve says ready and no pod is": (READY, deployment(readyReplicas=None, availableReplicas=None), False),
    "the deployment's controller has not seen the last change": (READY, deployment(observedGeneration=1), False),
    "an old pod is still there": (READY, deployment(updatedReplicas=None), False),
    "kserve is not ready": ({"status": {}}, deployment(), False),
    "there is no deployment": (READY, None, False),
    "there is no service": (None, deployment(), False),
}


@pytest.mark.parametrize(("service", "deployed", "ready"), GATES.values(), ids=GATES)
def test_an_endpoint_is_ready_when_its_newest_pods_are(service: Any, deployed: Any, ready: bool) -> None:
    assert is_ready(service, deployed) is ready
