"""The EvalDeployment controller through its only door: passes over a fake cluster, a real store and a scripted MLflow."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from msm.api.evaldeployment import EvalDeploymentStatus
from msm.errors import TryAgain
from msm_operator.backends.walls import Outside
from msm_operator.runtime.errors import Invalid
from msm_operator.runtime.resources import INFERENCESERVICES, JOBS, NETWORK_POLICIES, PODS, SERVICE_ACCOUNTS, SERVICES, SERVING_RUNTIMES
from tests.unit.operator_msmrun.cluster import NAMESPACE
from tests.unit.operator_promotion.deployment import NAME, Deployment


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


@pytest.fixture
def serving(deployment: Deployment) -> Deployment:
    """Version 1 is served with a margin of about 2 nats."""
    deployment.alias, deployment.margins = "1", {"1": 2.0, "2": 4.0, "3": 2.1}
    deployment.settle()
    assert deployment.status["version"] == "1"
    return deployment


def selected(deployment: Deployment) -> str:
    """The version whose pods the address selects."""
    name = deployment.address()["spec"]["selector"]["serving.kserve.io/inferenceservice"]
    service = next(s for s in deployment.of(INFERENCESERVICES) if s["metadata"]["name"] == name)
    return str(service["metadata"]["labels"]["modelspec.dev/version"])


def test_without_an_alias_nothing_is_made_and_the_status_says_so(deployment: Deployment) -> None:
    delay = deployment.reconcile()
    assert deployment.condition("Ready") == ("False", "NothingServed", "the model has no such alias; `msm promote` sets it")
    assert deployment.condition("Promoting")[:2] == ("False", "NoAlias")
    assert deployment.condition("TrackingAvailable")[0] == "True"
    assert deployment.units() == [] and delay == timedelta(seconds=30)


def test_a_version_without_a_gpu_says_which_field_asks_for_it(deployment: Deployment) -> None:
    deployment.alias = "1"
    deployment.reconcile()
    (service,) = deployment.of(INFERENCESERVICES)
    said = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    status = {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}], "phase": "Pending"}
    metadata = {"name": "cheese-0", "namespace": NAMESPACE, "labels": service["metadata"]["labels"]}
    deployment.cluster.put(PODS, {"kind": "Pod", "metadata": metadata, "status": status})
    deployment.step()
    message = deployment.condition("Promoting")[2]
    assert message == f"version 1: Unschedulable: {said}; add nodes, or ask for fewer GPUs: spec.serving.gpus"


def test_a_first_version_is_brought_up_asked_measured_and_served(deployment: Deployment) -> None:
    deployment.alias, deployment.margins = "1", {"1": 2.0}
    deployment.reconcile()
    assert deployment.units() == ["1"] and deployment.status["candidateVersion"] == "1"
    assert deployment.condition("Promoting")[:2] == ("True", "Starting")
    deployment.come_up(ready=False)
    deployment.step()
    assert deployment.jobs() == [], "KServe says ready, and no pod is"
    deployment.come_up()
    deployment.step()
    (smoke,) = deployment.jobs()
    stage = deployment.stage_of(smoke)
    name = deployment.of(INFERENCESERVICES)[0]["metadata"]["name"]
    address = f"http://{name}-predictor.{NAMESPACE}.svc.cluster.local/v1"
    assert stage.execution["endpoint"] == {"baseURL": address, "model": "cheese"}
    assert deployment.of(SERVICES) == [], "nobody is sent to a candidate"
    deployment.do(smoke)
    deployment.step()
    (evaluation,) = deployment.jobs()
    assert deployment.stage_of(evaluation).params["suite"] == "preference"
    deployment.do(evaluation)
    deployment.step()
    assert selected(deployment) == "1"
    deployment.step()
    assert deployment.status["version"] == "1" and "candidateVersion" not in deployment.status
    assert deployment.status["url"] == f"http://{NAME}.{NAMESPACE}.svc.cluster.local/v1"
    assert deployment.condition("Ready")[:2] == ("True", "Serving")
    (row,) = [row for row in deployment.status["scores"] if row["metric"] == "values.america"]
    assert row["value"] == pytest.approx(2.25) and row["low"] < row["value"] < row["high"]
    assert ("Normal", "Switched", "Promote", "version 1 is served") in deployment.cluster.events


def test_what_is_written_is_a_status_that_the_definition_knows(serving: Deployment) -> None:
    serving.alias = "3"
    serving.settle()
    status = EvalDeploymentStatus.model_validate(serving.status)
    assert status.refused[0].version == "3"
    assert {c.type for c in status.conditions} == {"Ready", "Promoting", "TrackingAvailable", "ServingAvailable", "StoreAvailable"}


def test_at_rest_nothing_is_written(serving: Deployment) -> None:
    serving.settle(12)
    serving.cluster.writes.clear()
    for _ in range(20):
        serving.step()
    assert serving.cluster.writes == []


def test_a_better_version_is_compared_on_the_same_items_and_takes_over(serving: Deployment) -> None:
    serving.alias = "2"
    serving.settle(4)
    serving.settle(4)
    assert (serving.status["version"], selected(serving)) == ("2", "2")
    assert serving.units() == ["1", "2"], "the old one ends its answers"
    serving.settle(10)
    assert serving.units() == ["2"]
    assert all(len(serving.of(kind)) == 1 for kind in (SERVICE_ACCOUNTS, SERVING_RUNTIMES, NETWORK_POLICIES, SERVICES))


def test_a_version_that_is_not_better_is_refused_with_the_numbers_and_never_tried_again(serving: Deployment) -> None:
    serving.alias = "3"
    serving.settle()
    (refusal,) = serving.status["refused"]
    assert (refusal["version"], refusal["reason"]) == ("3", "GateFailed")
    assert refusal["message"] == ("values.america of 3 against 1: 0.100 (0.100 to 0.100), needed at least 0.5 over the whole 95 % interval")
    assert (serving.status["version"], serving.units()) == ("1", ["1"])
    made = [w for w in serving.cluster.writes if w[:2] == ("apply", "InferenceService")]
    serving.settle(20)
    assert [w for w in serving.cluster.writes if w[:2] == ("apply", "InferenceService")] == made


def test_other_gates_judge_a_refused_version_by_the_scores_it_has(serving: Deployment) -> None:
    serving.alias = "3"
    serving.settle()
    jobs = len(serving.of(JOBS))
    serving.change(gates=[{"metric": "values.america", "minEffect": 0.3}])
    serving.settle(2)
    assert serving.status["refused"][0]["generation"] == 2
    assert serving.units() == ["1"] and len(serving.of(JOBS)) == jobs
    serving.change(gates=[{"metric": "values.america", "minEffect": 0.05}])
    serving.settle(4)
    assert serving.status["version"] == "3"
    assert "refused" not in serving.status
    assert len(serving.of(JOBS)) == jobs, "nothing was measured again"


def test_an_alias_that_moves_back_takes_the_candidate_and_its_check_away(serving: Deployment) -> None:
    serving.alias = "2"
    serving.step()
    serving.come_up()
    serving.step()
    assert serving.units() == ["1", "2"] and len(serving.jobs()) == 1
    serving.alias = "1"
    serving.step()
    serving.step()
    assert serving.units() == ["1"] and serving.jobs() == []
    assert serving.condition("Promoting")[:2] == ("False", "UpToDate")


def test_mlflow_away_is_a_condition_and_changes_nothing_else(serving: Deployment) -> None:
    before = {name: value for name, value in serving.status.items() if name != "conditions"}
    serving.mlflow = False
    serving.settle(10)
    status, reason, message = serving.condition("TrackingAvailable")
    assert (status, reason) == ("False", "Unreachable")
    assert "Connection refused; what is served stays" in message
    assert {name: value for name, value in serving.status.items() if name != "conditions"} == before
    assert serving.condition("Ready")[0] == "True"
    serving.mlflow = True
    serving.settle(12)
    assert serving.condition("TrackingAvailable")[0] == "True"


def test_a_silent_mlflow_is_asked_less_and_less(serving: Deployment) -> None:
    serving.mlflow = False
    serving.asked = 0
    for _ in range(40):
        serving.step()
    assert serving.asked <= 10


def test_a_restart_in_the_middle_of_an_evaluation_changes_nothing(serving: Deployment) -> None:
    serving.alias = "2"
    for _ in range(12):
        serving.reconciler = serving.make()
        serving.step()
        serving.come_up()
        for job in serving.jobs():
            serving.do(job)
    assert serving.status["version"] == "2"
    assert len(serving.of(JOBS)) == 4, "a smoke test and an evaluation for each version"


def test_a_lost_status_is_rebuilt_from_the_service(serving: Deployment) -> None:
    serving.cluster.objects[("evaldeployments", NAMESPACE, NAME)]["status"] = {}
    serving.step()
    assert serving.status["version"] == "1"
    assert serving.units() == ["1"]


def test_a_store_that_is_away_is_a_condition(serving: Deployment) -> None:
    serving.alias = "2"

    def away(config: Any) -> Any:
        raise TryAgain("s3://msm: no answer")

    serving.opener = away
    serving.reconciler = serving.make()
    serving.step()
    assert serving.condition("StoreAvailable")[:2] == ("False", "Unreachable")
    assert (serving.status["version"], serving.units()) == ("1", ["1"])


def test_without_kserve_nothing_fails(deployment: Deployment) -> None:
    deployment.alias, deployment.serving = "1", False
    deployment.settle(3)
    assert deployment.condition("ServingAvailable")[:2] == ("False", "NotInstalled")
    assert "refused" not in deployment.status
    deployment.serving, deployment.margins = True, {"1": 2.0}
    deployment.settle()
    assert deployment.status["version"] == "1"


def test_a_smoke_test_that_fails_refuses_and_a_service_that_is_away_does_not(serving: Deployment) -> None:
    serving.alias = "2"
    serving.step()
    serving.come_up()
    serving.step()
    (job,) = serving.jobs()
    serving.end(job, 75, "the store is away")
    serving.reconcile()
    assert serving.condition("Promoting")[:2] == ("True", "Waiting")
    serving.step()
    (again,) = serving.jobs()
    assert again["metadata"]["name"] != job["metadata"]["name"]
    serving.end(again, 2, "it answered none of 6 questions")
    serving.step()
    (refusal,) = serving.status["refused"]
    assert refusal["reason"] == "SmokeFailed" and "it answered none of 6 questions" in refusal["message"]
    serving.step()
    assert serving.units() == ["1"]


def test_more_pods_are_asked_for_in_place_and_other_gpus_beside(serving: Deployment) -> None:
    serving.change(serving={"replicas": 3, "gpus": 1})
    serving.step()
    (service,) = serving.of(INFERENCESERVICES)
    assert service["spec"]["predictor"]["minReplicas"] == 3
    serving.change(serving={"replicas": 1, "gpus": 2})
    serving.step()
    assert serving.units() == ["1", "1"]
    serving.settle(6)
    assert selected(serving) == "1"
    assert serving.address()["metadata"]["annotations"]["modelspec.dev/previous"].startswith("1.")


def test_a_service_of_somebody_else_is_not_taken(deployment: Deployment) -> None:
    deployment.cluster.put(SERVICES, {"kind": "Service", "metadata": {"name": NAME, "namespace": NAMESPACE}, "spec": {"selector": {}}})
    deployment.alias, deployment.margins = "1", {"1": 2.0}
    deployment.settle()
    assert deployment.condition("Ready")[:2] == ("False", "NameTaken")
    assert deployment.address()["spec"] == {"selector": {}}


def test_a_version_whose_weights_are_not_in_this_store_is_refused(serving: Deployment, tmp_path: Path) -> None:
    from msm.tracking.promotion import AliasVersion

    serving.reconciler.rooms.aliases.read = lambda *_: AliasVersion("9", "msm-file://laptop/x", "finetune", "e" * 64, "d" * 64)
    serving.settle(2)
    assert serving.status["refused"][0]["reason"] == "NotServable"
    assert "finetune/eee" in serving.status["refused"][0]["message"]


def test_a_served_version_whose_artifact_is_gone_is_not_compared_with(serving: Deployment) -> None:
    serving.store.delete(f"finetune/{'1'.rjust(64, 'f')}/manifest.json")
    serving.reconciler = serving.make()
    serving.alias = "2"
    serving.settle()
    (refusal,) = serving.status["refused"]
    assert refusal["reason"] == "EvaluationFailed" and "gone from the store" in refusal["message"]
    serving.change(gates=[{"metric": "values.america", "minimum": 1.0}])
    serving.settle()
    assert serving.status["version"] == "2"


def test_what_the_cluster_refuses_to_serve_is_refused_with_its_words(serving: Deployment) -> None:
    serving.alias = "2"
    serving.cluster.refuse["InferenceService"] = Invalid("admission webhook denied the request: no such runtime", status=422)
    serving.settle(3)
    (refusal,) = serving.status["refused"]
    assert refusal["reason"] == "NotServable" and "no such runtime" in refusal["message"]


MISTAKES = {
    "a suite that is judged": ({"evals": [{"name": "a", "suite": "agentic-misalignment", "judge": "j"}]}, "no endpoint named"),
    "items of a laptop": ({"evals": [{"name": "a", "items": {"source": {"path": "items.jsonl"}}}]}, "is a file of a laptop"),
    "a gate that asks for nothing": ({"gates": [{"metric": "a.b"}]}, "asks for nothing"),
    "items that are not there": ({"evals": [{"name": "a", "items": {"source": {"uri": "s3://inputs/none"}}}]}, "no object"),
    "a store that is not ours": ({"storage": {"uri": "s3://elsewhere/x"}}, "not below this installation's store"),
}


@pytest.mark.parametrize(("change", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_the_spec_is_said_and_what_is_served_stays(serving: Deployment, change: dict, message: str) -> None:
    serving.change(**change)
    serving.settle(2)
    status, reason, said = serving.condition("Ready")
    assert (status, reason) == ("True", "InvalidSpec")
    assert message in said
    assert (serving.status["version"], serving.units(), selected(serving)) == ("1", ["1"], "1")


def test_what_serves_and_what_measures_is_walled_in_before_it_is_made(deployment: Deployment) -> None:
    deployment.installation = replace(deployment.installation, network=Outside())
    deployment.reconciler = deployment.make()
    deployment.alias, deployment.margins = "1", {"1": 2.0}
    deployment.settle()
    made = [kind for verb, kind, _ in deployment.cluster.writes if verb == "apply"]
    assert made[0] == "NetworkPolicy"
    wall = next(p for p in deployment.of(NETWORK_POLICIES) if p["metadata"]["name"].startswith("msm-"))
    (mark,) = wall["spec"]["podSelector"]["matchLabels"].items()
    assert mark in deployment.of(INFERENCESERVICES)[0]["metadata"]["labels"].items()
    assert wall["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_without_a_wall_nothing_is_served_and_the_value_of_the_chart_is_named(deployment: Deployment) -> None:
    deployment.installation = replace(deployment.installation, network=Outside())
    deployment.reconciler = deployment.make()
    deployment.cluster.refuse["NetworkPolicy"] = Invalid("spec.egress[1]: Invalid value", status=422)
    deployment.alias = "1"
    deployment.reconcile()
    assert deployment.units() == []
    assert "networkPolicy.egress" in str(deployment.status["conditions"])
