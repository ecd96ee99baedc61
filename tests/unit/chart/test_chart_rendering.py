"""What the chart makes of its values."""

import json
from typing import Any

import pytest

from msm_operator.backends.installation import installation
from msm_operator.main import replica_settings
from msm_operator.preflight.settings import settings_of
from tests.unit.chart.helm import CHART as FOLDER
from tests.unit.chart.helm import HELMS, HOME, environment, helm, kinds, one, rendered, templates

Object = dict[str, Any]
EVERYTHING = (
    *("--set", "tracking.uri=http://mlflow.mlops.svc:5000", "--set", "tracking.secretName=mlflow", "--set", "hub.secretName=hub"),
    *("--set", "store.endpoint=https://s3.example.com", "--set", "store.region=eu", "--set", "store.caConfigMap=authority"),
    *("--set", "images.registry=registry.example.com/msm", "--set", "images.pullSecrets={pull}", "--set", "images.pullPolicy=Always"),
    *(
        "--set",
        "mirror=s3://bucket/mirror",
        "--set",
        "stages.scratchSize=100Gi",
        "--set-json",
        'stages.resources={"evaluate":{"limits":{"cpu":"4"}}}',
    ),
    *("--set", "serving.env.A=b", "--set", "operator.env.HTTPS_PROXY=http://proxy:3128", "--set", "metrics.serviceMonitor.enabled=true"),
    *("--set", "serving.runtimes=always", "--set", "preflight.images={trainer,serve}", "--set", "operator.nodeSelector.zone=a"),
    *("--set-json", 'operator.tolerations=[{"key":"x","operator":"Exists"}]', "--set", "operator.priorityClassName=high"),
)


def operator_of(objects: list[Object]) -> Object:
    container: Object = one(objects, "Deployment", "msm-operator")["spec"]["template"]["spec"]["containers"][0]
    return container


@pytest.mark.parametrize(
    "arguments", [(), EVERYTHING, ("--set", "watchNamespaces={one,two}")], ids=["defaults", "everything", "namespaced"]
)
def test_helm_3_makes_the_same_of_it_as_helm_4(arguments: tuple[str, ...]) -> None:
    four, three = (rendered(*arguments, name=name) for name in HELMS)
    key = lambda o: (o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"])  # noqa: E731
    assert sorted(four, key=key) == sorted(three, key=key)


@pytest.mark.parametrize("arguments", [(), EVERYTHING], ids=["defaults", "everything"])
def test_every_pod_is_as_restricted_as_it_can_be(arguments: tuple[str, ...]) -> None:
    found = templates(rendered(*arguments))
    assert set(found) == {"Deployment/msm-operator", "Job/msm-preflight", "ReplicaSet/msm-preflight-images", "Pod/msm-test"}
    for name, spec in found.items():
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] and pod["runAsUser"] == 65532 and pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert "hostNetwork" not in spec and not any("hostPath" in v for v in spec.get("volumes", ())), name
        for container in spec["containers"]:
            locked = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            assert container["securityContext"] == locked, name
            assert "memory" in container["resources"]["limits"], name


def test_only_pods_that_ask_the_api_server_have_a_token() -> None:
    tokens = {name: spec["automountServiceAccountToken"] for name, spec in templates(rendered()).items()}
    assert [name for name, has in tokens.items() if not has] == ["ReplicaSet/msm-preflight-images"]


def test_the_operator_reads_what_the_chart_says() -> None:
    said = environment(operator_of(rendered(*EVERYTHING)))
    given = {**said, "POD_NAMESPACE": HOME, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    found = installation(given)
    assert found.store is not None and (found.store.uri, found.store.endpoint) == ("s3://bucket/prefix", "https://s3.example.com")
    assert found.image == "registry.example.com/msm/msm-trainer:0.1.0"
    assert found.serve_image.startswith("docker.io/vllm/vllm-openai:v")
    assert (found.tracking_uri, found.mirror) == ("http://mlflow.mlops.svc:5000", "s3://bucket/mirror")
    assert (found.ca_config_map, found.hub_secret, found.pull_secrets, found.pull_policy) == ("authority", "hub", ("pull",), "Always")
    assert found.stage_resources == {"evaluate": {"limits": {"cpu": "4"}}} and found.serve_env == {"A": "b"}
    assert found.scratch_size == "100Gi" and not found.namespaced
    assert found.network is not None and found.network.egress[0]["ports"] == [{"port": 443, "protocol": "TCP"}]
    settings = replica_settings(given)
    assert settings.namespaces == ("",) and settings.health_port == 8081 and settings.timing.duration == 15


def test_credentials_are_references_and_never_values() -> None:
    said = environment(operator_of(rendered(*EVERYTHING)))
    assert said["AWS_SECRET_ACCESS_KEY"] == "msm-store/AWS_SECRET_ACCESS_KEY"
    assert said["MLFLOW_TRACKING_PASSWORD"] == "mlflow/MLFLOW_TRACKING_PASSWORD"
    assert "HF_TOKEN" not in said
    assert not [o for o in rendered(*EVERYTHING) if o["kind"] in ("Secret", "ConfigMap")]


def test_with_namespaces_the_operator_is_told_them_and_may_read_their_secrets_alone() -> None:
    objects = rendered("--set", "watchNamespaces={one,two}")
    said = environment(operator_of(objects))
    assert (said["MSM_NAMESPACED"], said["MSM_WATCH_NAMESPACES"]) == ("true", "one,two")
    roles = [o for o in objects if o["kind"] == "Role" and o["metadata"]["name"] == "msm-operator"]
    assert {o["metadata"]["namespace"] for o in roles} == {"one", "two"}
    assert all({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]} in o["rules"] for o in roles)


IMAGES = {
    "the registry of all": (["images.registry=r.example.com:5000/x"], "r.example.com:5000/x/msm-trainer:0.1.0"),
    "its own registry": (["images.registry=a.example.com", "images.trainer.registry=b.example.com"], "b.example.com/msm-trainer:0.1.0"),
    "a tag": (["images.trainer.tag=1f2e-cuda"], "msm-trainer:1f2e-cuda"),
    "a digest goes before a tag": (
        ["images.trainer.tag=x", f"images.trainer.digest=sha256:{'a' * 64}"],
        f"msm-trainer@sha256:{'a' * 64}",
    ),
}


@pytest.mark.parametrize(("settings", "image"), IMAGES.values(), ids=IMAGES)
def test_an_image_is_called(settings: list[str], image: str) -> None:
    objects = rendered(*(word for one in settings for word in ("--set", one)))
    assert environment(operator_of(objects))["MSM_STAGE_IMAGE"] == image
    assert one(objects, "ReplicaSet", "msm-preflight-images")["spec"]["template"]["spec"]["containers"][0]["image"] == image


def test_one_replica_has_no_budget_that_would_block_a_drain() -> None:
    assert ("PodDisruptionBudget", "msm-operator") in kinds(rendered())
    assert ("PodDisruptionBudget", "msm-operator") not in kinds(rendered("--set", "operator.replicas=1"))


def test_replicas_are_spread_and_one_may_be_away() -> None:
    objects = rendered()
    spec = one(objects, "Deployment", "msm-operator")["spec"]
    assert spec["replicas"] == 2
    spread = spec["template"]["spec"]["topologySpreadConstraints"]
    assert [s["topologyKey"] for s in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert one(objects, "PodDisruptionBudget", "msm-operator")["spec"]["maxUnavailable"] == 1


def test_probes_and_metrics_ask_the_health_port() -> None:
    objects = rendered("--set", "operator.port=9090", "--set", "metrics.serviceMonitor.enabled=true")
    container = operator_of(objects)
    assert container["ports"] == [{"name": "http", "containerPort": 9090, "protocol": "TCP"}]
    assert {container[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "liveness", "readiness")} == {"http"}
    assert environment(container)["MSM_HEALTH_PORT"] == "9090"
    service = one(objects, "Service", "msm-operator-metrics")
    monitor = one(objects, "ServiceMonitor", "msm-operator")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert one(objects, "NetworkPolicy", "msm-operator")["spec"]["ingress"] == [{"ports": [{"port": 9090, "protocol": "TCP"}]}]


def test_hooks_are_not_selected_as_operators() -> None:
    objects = rendered()
    selector = one(objects, "Deployment", "msm-operator")["spec"]["selector"]["matchLabels"]
    for name in ("msm-preflight", "msm-preflight-images", "msm-test"):
        for o in (o for o in objects if o["metadata"]["name"] == name):
            labels = o.get("spec", {}).get("template", {}).get("metadata", o["metadata"])["labels"]
            assert not selector.items() <= labels.items(), name


def test_what_pods_may_reach_can_be_closed_or_left_open() -> None:
    closed = environment(operator_of(rendered("--set-json", "networkPolicy.egress=[]")))
    assert json.loads(closed["MSM_RUN_NETWORK"]) == {"dns": [], "egress": []}
    left = rendered("--set", "networkPolicy.enabled=false", "--set", "networkPolicy.operator=false")
    assert "MSM_RUN_NETWORK" not in environment(operator_of(left))
    assert not [o for o in left if o["kind"] == "NetworkPolicy"]


def test_the_preflight_reads_what_the_chart_says_and_starts_without_a_secret() -> None:
    job = one(rendered(*EVERYTHING), "Job", "msm-preflight")
    spec = job["spec"]["template"]["spec"]
    container = spec["containers"][0]
    found = settings_of({**environment(container), "POD_NAMESPACE": HOME})
    assert found.required == {"training"} and found.images == ("trainer", "serve") and found.seconds == 240
    assert (found.store_secret, found.tracking_secret) == ("msm-store", "mlflow")
    references = [e["valueFrom"]["secretKeyRef"] for e in container["env"] if "secretKeyRef" in e.get("valueFrom", {})]
    assert references and all(ref["optional"] for ref in references)
    assert next(v for v in spec["volumes"] if v["name"] == "ca")["configMap"]["optional"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"


def test_rights_of_the_preflight_and_of_the_test_are_their_own_and_small() -> None:
    objects = rendered("--set", "test.namespace=team")
    assert one(objects, "Role", "msm-preflight")["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    test = one(objects, "Role", "msm-test")
    assert test["rules"] == [{"apiGroups": ["modelspec.dev"], "resources": ["msmruns"], "verbs": ["create", "get", "delete"]}]
    assert test["metadata"]["namespace"] == "team"
    assert one(objects, "ServiceAccount", "msm-test")["metadata"]["namespace"] == HOME


def test_nothing_is_looked_at_where_that_is_not_wanted() -> None:
    assert not [name for _, name in kinds(rendered("--set", "preflight.enabled=false")) if "preflight" in name]
    without = kinds(rendered("--set-json", "preflight.images=[]"))
    assert ("Job", "msm-preflight") in without and ("ReplicaSet", "msm-preflight-images") not in without


def test_runtimes_are_there_where_kserve_is() -> None:
    both = {("ClusterServingRuntime", "msm-vllm-gpu"), ("ClusterServingRuntime", "msm-vllm-cpu")}
    assert not both & kinds(rendered())
    assert both <= kinds(rendered("--api-versions", "serving.kserve.io/v1alpha1"))
    assert both <= kinds(rendered("--set", "serving.runtimes=always"))
    assert not both & kinds(rendered("--api-versions", "serving.kserve.io/v1alpha1", "--set", "serving.runtimes=never"))
    narrow = rendered("--set", "serving.runtimes=always", "--set", "watchNamespaces={one}")
    assert ("ServingRuntime", "msm-vllm-cpu") in kinds(narrow) and not both & kinds(narrow)
    gpu = one(rendered("--set", "serving.runtimes=always", "--set", "gpuResource=amd.com/gpu"), "ClusterServingRuntime", "msm-vllm-gpu")
    assert gpu["spec"]["containers"][0]["resources"]["limits"] == {"amd.com/gpu": "1"}


def test_the_notes_end_with_commands_that_name_this_installation() -> None:
    done = helm("helm", "install", "mine", str(FOLDER), "--namespace", "lab", "--dry-run=client", "--set", "store.uri=s3://b/p")
    assert done.returncode == 0, done.stderr
    notes = done.stdout[done.stdout.index("NOTES:") :]
    for command in (
        "kubectl -n lab rollout status deployment/msm-operator",
        "helm test mine -n lab",
        "get msmrun -w",
        "create secret generic msm-store",
    ):
        assert command in notes
