"""Rendering, conditions, aliases and the pages that name every reason."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.api.evaldeployment import EvalDeploymentSpec, Serving
from msm.errors import TryAgain, UserError
from msm.plan.decide import Ending
from msm.tracking.config import TrackingConfig
from msm.tracking.promotion import AliasVersion
from msm_operator.backends.children import Child, Phase
from msm_operator.backends.installation import Installation
from msm_operator.backends.weights import Weights, arguments, storage
from msm_operator.promotion import checks
from msm_operator.promotion.aliases import AliasReader
from msm_operator.promotion.checks import Tried
from msm_operator.promotion.names import does_not_fit, served_name, service_name, unit_name, variant_of
from msm_operator.promotion.observed import CheckState, Refusal, Stable, Unit
from msm_operator.promotion.reasons import ConditionType, Reason
from msm_operator.promotion.serving import Wish, unit_bodies
from msm_operator.promotion.stable import read, service
from msm_operator.promotion.status import Wanted, conditions, refusals, refused_rows
from msm_operator.runtime.resources import INFERENCESERVICES, JOBS, NETWORK_POLICIES, SERVING_RUNTIMES
from msm_operator.status.history import Ended
from msm_operator.status.reasons import Reason as RunReason
from tests.unit.operator_msmrun.cluster import START, FakeClock

OBJ: dict[str, Any] = {
    "apiVersion": "modelspec.dev/v1alpha1",
    "kind": "EvalDeployment",
    "metadata": {"name": "cheese", "namespace": "team", "uid": "00000000-0000-4000-8000-000000000001", "generation": 3},
}
UNIT = Unit("7", "a1b2c3")
ADAPTED = Weights("s3://b/fetch", "cheese-base", {"cheese": "s3://b/finetune", "aft": "s3://b/aft"}, rank=24)
INSTALLATION = Installation(image="trainer:1", serve_image="vllm:1")


def bodies(weights: Weights, **wish: Any) -> dict[Any, dict[str, Any]]:
    wanted = Wish(**{"replicas": 1, "gpus": 1, "runtime": None, "is_open": False, **wish})
    return dict(unit_bodies(OBJ, UNIT, "finetune/f", weights, wanted, INSTALLATION, "msm-store"))


def test_adapters_are_lora_modules_of_one_base_below_one_directory() -> None:
    found = bodies(ADAPTED)
    (container,) = found[SERVING_RUNTIMES]["spec"]["containers"]
    assert container["args"][-16:] == [
        "--model=/mnt/models/base",
        "--served-model-name=cheese-base",
        "--enable-lora",
        "--max-lora-rank=32",
        "--max-loras=2",
        "--lora-modules",
        "aft=/mnt/models/adapters/0",
        "cheese=/mnt/models/adapters/1",
        "--lora-target-modules",
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    ]
    predictor = found[INFERENCESERVICES]["spec"]["predictor"]
    assert predictor["storageUris"] == [
        {"uri": "s3://b/fetch", "mountPath": "/mnt/models/base"},
        {"uri": "s3://b/aft", "mountPath": "/mnt/models/adapters/0"},
        {"uri": "s3://b/finetune", "mountPath": "/mnt/models/adapters/1"},
    ]
    assert "storageUri" not in predictor["model"], "KServe refuses both"
    assert predictor["deploymentStrategy"] == {"type": "Recreate"}


def test_a_full_model_is_served_under_the_same_name() -> None:
    found = bodies(Weights("s3://b/full", "cheese"))
    (container,) = found[SERVING_RUNTIMES]["spec"]["containers"]
    assert container["args"][-2:] == ["--model=/mnt/models", "--served-model-name=cheese"]
    assert found[INFERENCESERVICES]["spec"]["predictor"]["model"]["storageUri"] == "s3://b/full"


RANKS = {1: 8, 8: 8, 16: 16, 24: 32, 64: 64, 300: 320, 512: 512}


@pytest.mark.parametrize(("rank", "largest"), RANKS.items(), ids=[f"rank {rank}" for rank in RANKS])
def test_the_largest_rank_is_one_that_vllm_knows(rank: int, largest: int) -> None:
    assert f"--max-lora-rank={largest}" in arguments(Weights("b", "x-base", {"x": "a"}, rank))


def test_a_candidate_is_reached_by_its_checks_and_what_serves_by_everybody() -> None:
    (closed,) = bodies(ADAPTED)[NETWORK_POLICIES]["spec"]["ingress"]
    assert closed["from"] == [{"podSelector": {"matchLabels": {"modelspec.dev/evaldeployment-uid": OBJ["metadata"]["uid"]}}}]
    (opened,) = bodies(ADAPTED, is_open=True)[NETWORK_POLICIES]["spec"]["ingress"]
    assert "from" not in opened and opened["ports"] == closed["ports"]


def test_a_runtime_of_the_users_gets_the_same_arguments_and_none_of_ours_is_made() -> None:
    found = bodies(ADAPTED, runtime="team-vllm")
    assert SERVING_RUNTIMES not in found
    model = found[INFERENCESERVICES]["spec"]["predictor"]["model"]
    assert (model["runtime"], model["modelFormat"]) == ("team-vllm", {"name": "huggingface"})
    assert "--enable-lora" in model["args"]


def test_nothing_of_a_unit_carries_the_labels_of_a_run() -> None:
    for body in bodies(ADAPTED).values():
        labels = body["metadata"]["labels"]
        assert not {"modelspec.dev/run", "modelspec.dev/run-uid"} & labels.keys()
        assert (labels["modelspec.dev/evaldeployment"], labels["modelspec.dev/version"]) == ("cheese", "7")
        assert body["metadata"]["ownerReferences"][0]["kind"] == "EvalDeployment"


MODELS = {"cheese": "cheese", "Käse Nr. 1": "K-se-Nr.-1", "--model": "model", "{{ .Name }}": "Name", "=": "model"}


@pytest.mark.parametrize(("model", "name"), MODELS.items(), ids=MODELS.keys())
def test_a_registered_models_name_becomes_one_that_servers_and_templates_take(model: str, name: str) -> None:
    assert served_name(EvalDeploymentSpec.model_validate({"model": model})) == name


NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)


@given(NAMES, st.from_regex(r"[a-z]([-a-z0-9]{0,41}[a-z0-9])?", fullmatch=True), st.integers(1, 10**6))
def test_names_are_what_kubernetes_takes_with_what_kserve_makes_of_them(name: str, namespace: str, version: int) -> None:
    obj = {**OBJ, "metadata": {**OBJ["metadata"], "name": name, "namespace": namespace}}
    made = unit_name(obj, Unit(str(version), "a1b2c3"))
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", made) and len(f"{made}-predictor-{namespace}") <= 63
    assert made != unit_name(obj, Unit(str(version), "other")) != unit_name(obj, Unit(str(version + 1), "other"))
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", service_name(name)) and len(service_name(name)) <= 63


def test_names_say_what_they_are_where_there_is_room() -> None:
    assert unit_name(OBJ, UNIT).startswith("cheese-v7-")


def test_a_namespace_that_is_too_long_for_kserve_is_said() -> None:
    long = {**OBJ, "metadata": {**OBJ["metadata"], "namespace": "n" * 44}}
    assert does_not_fit(long, UNIT).endswith("has 44; 43 are the most")
    assert does_not_fit(OBJ, UNIT) == ""


def test_everything_of_a_unit_names_the_same() -> None:
    found = bodies(ADAPTED)
    name = unit_name(OBJ, UNIT)
    assert {body["metadata"]["name"] for body in found.values()} == {name}
    predictor = found[INFERENCESERVICES]["spec"]["predictor"]
    assert (predictor["serviceAccountName"], predictor["model"]["runtime"]) == (name, name)
    assert found[NETWORK_POLICIES]["spec"]["podSelector"]["matchLabels"] == {"serving.kserve.io/inferenceservice": name}


def test_pods_change_with_runtime_and_gpus_and_not_with_their_number() -> None:
    assert variant_of(Serving(replicas=1)) == variant_of(Serving(replicas=5))
    assert len({variant_of(Serving()), variant_of(Serving(gpus=2)), variant_of(Serving(runtime="x"))}) == 3


def test_the_address_says_what_it_points_at_and_what_before() -> None:
    made = service(OBJ, UNIT, "finetune/f", START, Unit("6", "a1b2c3"))
    pointed = read(made, OBJ["metadata"]["uid"])
    assert pointed is not None
    assert (pointed.stable, pointed.artifact) == (Stable(UNIT, START, Unit("6", "a1b2c3")), "finetune/f")
    assert read(made, "somebody-else") is None
    assert made["spec"]["selector"] == {"serving.kserve.io/inferenceservice": unit_name(OBJ, UNIT)}


def test_storage_paths_have_one_parent_as_kserve_demands() -> None:
    assert {one["mountPath"].rsplit("/", 1)[0] for one in storage(ADAPTED)["storageUris"]} == {"/mnt/models", "/mnt/models/adapters"}


def child(number: int, ended: Ended | None, minutes: int = 0) -> Child:
    return Child(
        JOBS,
        f"j{number}",
        f"u{number}",
        "s",
        number,
        Phase.ENDED if ended else Phase.RUNNING,
        START + timedelta(minutes=minutes),
        ended=ended,
    )


def fault(ending: Ending = Ending.FAULT) -> Ended:
    return Ended(ending, RunReason.FAULT, "it broke", START)


NOW = START + timedelta(hours=1)
VIEWS: dict[str, tuple[list[Tried], CheckState]] = {
    "nothing was tried": ([], CheckState.ABSENT),
    "one runs": ([Tried(child(1, None), 3)], CheckState.RUNNING),
    "one failed long ago": ([Tried(child(1, fault()), 3)], CheckState.ABSENT),
    "three failed": ([Tried(child(n, fault()), 3) for n in (1, 2, 3)], CheckState.FAILED),
    "three failed for an earlier spec": ([Tried(child(n, fault()), 2) for n in (1, 2, 3)], CheckState.ABSENT),
    "the user's mistake": ([Tried(child(1, fault(Ending.USER_ERROR)), 3)], CheckState.FAILED),
    "one of an earlier spec still runs": ([Tried(child(1, fault()), 2), Tried(child(2, None), 2)], CheckState.RUNNING),
}


@pytest.mark.parametrize(("tried", "state"), VIEWS.values(), ids=VIEWS.keys())
def test_a_measurement_is_as_far_as_its_jobs_say(tried: list[Tried], state: CheckState) -> None:
    assert checks.view(tried, False, 3, NOW).state is state
    assert checks.view(tried, True, 3, NOW).state is CheckState.COMMITTED


def test_a_measurement_without_end_is_given_up() -> None:
    found = checks.view([Tried(child(1, None), 3)], False, 3, START + timedelta(hours=7))
    assert found.state is CheckState.FAILED and "DeadlineExceeded" in found.message


def test_the_number_of_an_attempt_is_never_used_twice() -> None:
    assert checks.next_number([Tried(child(4, fault()), 2), Tried(child(2, fault()), 1)]) == 5


def test_refusals_are_bounded_keep_the_latest_and_forget_what_is_served() -> None:
    before = {str(n): Refusal(str(n), "GateFailed", "m", 1) for n in range(70)}
    rows = refused_rows(before, Refusal("3", "NotReady", "x" * 2000, 2), served="69")
    assert len(rows) == 64
    assert (rows[-1]["version"], rows[-1]["reason"], len(rows[-1]["message"])) == ("3", "NotReady", 500)
    assert "69" not in refusals({"refused": rows})


def test_a_condition_keeps_its_time_while_its_status_stands() -> None:
    first = conditions([Wanted(ConditionType.READY, "True", Reason.SERVING, "a")], {}, 1, START)
    second = conditions([Wanted(ConditionType.READY, "True", Reason.SERVING, "b")], {"conditions": first}, 2, NOW)
    third = conditions([Wanted(ConditionType.READY, "False", Reason.PODS_NOT_READY)], {"conditions": second}, 2, NOW)
    assert second[0]["lastTransitionTime"] == first[0]["lastTransitionTime"] != third[0]["lastTransitionTime"]
    assert second[0]["message"] == "b"


def test_every_reason_has_a_section_in_the_guide() -> None:
    page = (Path(__file__).parents[3] / "docs" / "guide" / "promotion.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^### (\w+)$", page, re.M))
    assert {reason.value for reason in Reason} == headings


VERSION = AliasVersion("1", "s3://x", "finetune", "f" * 64, "d" * 64)
CONFIG = TrackingConfig("http://mlflow:5000", "x")


def ask(reader: AliasReader) -> Any:
    return asyncio.run(reader.ask(CONFIG, "cheese", "champion"))


def test_an_answer_is_used_for_some_seconds_and_a_silence_for_longer_and_longer() -> None:
    clock, said = FakeClock(), []

    def read_(*_: Any) -> AliasVersion:
        said.append(clock.at)
        if len(said) > 1:
            raise TryAgain("no answer")
        return VERSION

    reader = AliasReader(clock, read_, {}, ThreadPoolExecutor(1))
    assert ask(reader).version == ask(reader).version == VERSION
    clock.sleep(25)
    assert isinstance(ask(reader).error, TryAgain) and len(said) == 2
    for _ in range(100):
        clock.sleep(10)
        ask(reader)
    assert 5 < len(said) < 12


ERRORS = {"a refusal": UserError("spec.tracking.uri", "refuses"), "anything else": RuntimeError("a library's own words")}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_whatever_mlflow_raises_is_a_value(error: Exception) -> None:
    def read_(*_: Any) -> AliasVersion:
        raise error

    answer = ask(AliasReader(FakeClock(), read_, {}, ThreadPoolExecutor(1)))
    assert answer.version is None and str(error) in str(answer.error)
