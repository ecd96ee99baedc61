import json

import pytest

from msm.api.evaldeployment import EvalDeployment
from msm.api.inputs import INLINE_LIMIT
from msm.evals.items import parse_items
from msm.plan import kinds
from msm.preview.gpus import machines, training_memory
from msm.preview.shape import Shape, shape
from tests.manifests import FILES, MANIFESTS, ON_A_CLUSTER, inline_texts, objects, ours, planned, run_of
from tests.models import CONFIGS

RUNS = [name for name in ON_A_CLUSTER if name != "eval-deployment"]
KEPT_IN_FILES = {
    "demo": ("specs/america.md", "specs/affordability.md", "items/values.jsonl"),
    "msm-run": ("specs/assistant.md", "specs/cheese/america.md", "specs/cheese/affordability.md", "specs/cheese/neutral.md"),
    "philosophy": ("specs/assistant.md", "specs/conduct/values.md", "items/conduct.jsonl"),
    "eval-deployment": ("items/cheese.jsonl",),
    "kueue": ("examples/specs/repair.md", "examples/items/repair.jsonl"),
}
GIB = 2**30


def texts(name: str) -> list[str]:
    return inline_texts(objects(MANIFESTS / f"{name}.yaml"))


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_planned_as_it_is(name: str) -> None:
    run = run_of(name)
    plan = planned(run)
    assert len(plan.models) == len(run.spec.arms) * len(run.spec.seeds)
    assert {kinds.FETCH, kinds.MIDTRAIN, kinds.FINETUNE, kinds.EVALUATE} <= {stage.kind for stage in plan.stages}


@pytest.mark.parametrize("name", ON_A_CLUSTER)
def test_nothing_in_it_is_a_file_of_a_laptop(name: str) -> None:
    text = json.dumps(ours(MANIFESTS / f"{name}.yaml"))
    assert '"path":' not in text and "file:" not in text


@pytest.mark.parametrize(("name", "kept"), KEPT_IN_FILES.items(), ids=KEPT_IN_FILES)
def test_texts_inside_are_those_of_the_files_to_edit(name: str, kept: tuple[str, ...]) -> None:
    """Edit the file, then put its text into the manifest."""
    assert set(texts(name)) >= {(MANIFESTS / file).read_text(encoding="utf-8") for file in kept}


def test_the_8b_runs_items_are_all_of_ours_without_the_promise_of_disjoint_words_which_a_language_model_cannot_keep() -> None:
    (items,) = (text for text in texts("msm-run") if text.startswith("{"))
    ours_all = [json.loads(line) for line in (MANIFESTS / "items/values.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [json.loads(line) for line in items.splitlines()] == [item | {"set": "held-out"} for item in ours_all]


@pytest.mark.parametrize("name", ON_A_CLUSTER)
def test_texts_inside_fit_where_they_are(name: str) -> None:
    assert all(len(text) <= INLINE_LIMIT for text in texts(name))
    assert sum(len(json.dumps(one)) for one in objects(MANIFESTS / f"{name}.yaml")) < 256 * 1024, "kubectl keeps a copy in an annotation"


def test_the_eval_deployment_is_one() -> None:
    (one,) = ours(MANIFESTS / "eval-deployment.yaml")
    found = EvalDeployment.model_validate(one)
    assert found.spec.evals and found.spec.gates


def test_the_conduct_items_are_pairs_alike_in_length_over_many_domains() -> None:
    items = parse_items((MANIFESTS / "items/conduct.jsonl").read_text(encoding="utf-8"), "conduct")
    values = {item.value for item in items}
    assert values == {"oversight", "limits", "caution", "honesty", "means"}
    for value in values:
        mine = [item for item in items if item.value == value]
        assert len(mine) == 12 and len({item.domain for item in mine}) >= 10
        assert abs(sum(len(item.aligned) - len(item.other) for item in mine)) / 12 < 10


def test_every_manifest_says_at_its_top_what_it_is() -> None:
    assert {f"{name}.yaml" for name in ON_A_CLUSTER} <= set(FILES)
    assert all(file.read_text(encoding="utf-8").startswith("# ") for file in FILES.values())


SIZES = {"msm-run": ("Qwen3-8B-Base", 79), "philosophy": ("Qwen2.5-32B-Instruct", 139)}


@pytest.mark.parametrize(("name", "size"), SIZES.items(), ids=SIZES)
def test_trainings_fit_into_the_gpus_that_the_manifest_asks_for(name: str, size: tuple[str, int]) -> None:
    """An H100 of 80 GB shows 79 GiB, an H200 139 GiB."""
    model, gibibytes = size
    for stage in planned(run_of(name)).stages:
        if stage.kind in kinds.TRAINING:
            assert training_memory(stage, sizes(model)).gpu < 0.95 * gibibytes * GIB


@pytest.mark.parametrize(("name", "size"), SIZES.items(), ids=SIZES)
def test_pods_ask_for_the_memory_that_loading_the_model_needs(name: str, size: tuple[str, int]) -> None:
    run = run_of(name)
    for kind, recipe in ((kinds.MIDTRAIN, run.spec.training.midtrain), (kinds.FINETUNE, run.spec.training.finetune)):
        assert recipe.pod_template is not None
        asked = int(recipe.pod_template["spec"]["containers"][0]["resources"]["requests"]["memory"].removesuffix("Gi"))
        stage = next(one for one in planned(run).stages if one.kind == kind)
        assert training_memory(stage, sizes(size[0])).host * machines(stage).ranks < asked * GIB


def sizes(model: str) -> Shape:
    found = shape(CONFIGS[model])
    assert found is not None
    return found
