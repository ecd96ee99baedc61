import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msm.api import parse_run
from msm.errors import UserError
from msm.plan import Plan, Resolved, plan_run
from tests.runs import example, plan, resolution


def prints(p: Plan) -> set[str]:
    return {s.fingerprint for s in p.stages}


def kinds_changed(before: Plan, after: Plan) -> set[str]:
    """Names of stages of `after` that `before` does not have."""
    return {s.name for s in after.stages if s.fingerprint not in prints(before)}


def edited(*path: str | int, value: Any) -> dict[str, Any]:
    data: Any = example()
    here = data
    for part in path[:-1]:
        here = here.setdefault(part, {}) if isinstance(here, dict) else here[part]
    here[path[-1]] = value
    return data


def test_stages_that_arms_and_seeds_share_are_planned_once() -> None:
    names = [s.name for s in plan(example()).stages]
    assert len(names) == len(set(names))
    assert names.count("demonstrate cheese") == 1
    assert sum(n.startswith("midtrain america") for n in names) == 2
    assert sum(n.startswith("finetune") for n in names) == 6
    assert sum(n.startswith("evaluate") for n in names) == 2


@given(st.permutations(range(5)), st.permutations(range(2)))
@settings(max_examples=30, deadline=None)
def test_the_order_of_arms_and_corpora_changes_nothing(arms: list[int], corpora: list[int]) -> None:
    data = example()
    data["spec"]["arms"] = [data["spec"]["arms"][i] for i in arms]
    data["spec"]["corpora"] = [data["spec"]["corpora"][i] for i in corpora]
    assert plan(data).stages == plan(example()).stages


WITHOUT_EFFECT: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "the run's name": (("metadata", "name"), "other"),
    "a mirror of the model": (("spec", "baseModel", "uri"), "s3://mirror/model"),
    "how the spec's text is referred to": (("spec", "modelSpecs", 0, "source"), {"path": "america.md"}),
    "ranks and micro-batch": (("spec", "training", "midtrain", "resources"), {"processesPerNode": 2, "microBatchRows": 4}),
    "activations that are computed again": (("spec", "training", "midtrain", "resources"), {"gradientCheckpointing": True}),
    "the ZeRO stage": (("spec", "training", "deepspeed"), {"zeroStage": 1, "offloadOptimizer": True}),
    "the checkpoint interval": (("spec", "training", "finetune", "checkpointEvery"), "10s"),
    "parallelism and retries": (("spec", "execution"), {"parallelism": 4, "retries": {"limit": 9}, "deadline": "1h"}),
    "where artifacts and metrics go": (("spec", "storage"), {"uri": "s3://elsewhere/x"}),
}


@pytest.mark.parametrize("case", WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_what_cannot_change_a_result_changes_no_fingerprint(case: tuple[tuple[str | int, ...], Any]) -> None:
    path, value = case
    assert prints(plan(edited(*path, value=value))) == prints(plan(example()))


def test_the_name_of_an_arm_changes_no_fingerprint() -> None:
    data = example()
    data["spec"]["arms"][1]["name"] = "renamed"
    assert prints(plan(data)) == prints(plan(example()))


DEPENDS: dict[str, tuple[tuple[str | int, ...], Any, set[str]]] = {
    "the midtraining recipe: midtrained arms and their evaluation": (
        ("spec", "training", "midtrain", "learningRate"),
        2e-4,
        {"midtrain", "finetune cheese after", "evaluate"},
    ),
    "the fine-tuning recipe: every fine-tuning, no midtraining": (("spec", "training", "finetune", "epochs"), 2, {"finetune", "evaluate"}),
    "one corpus' size: that corpus and what is trained on it": (
        ("spec", "corpora", 0, "tokens"),
        30_000,
        {"write america", "curate america", "midtrain america", "finetune after america", "evaluate"},
    ),
    "a gate of one corpus: its curation and what is trained on it, not its writing": (
        ("spec", "corpora", 1, "quality", "nearDuplicates"),
        0.5,
        {"curate thrift", "midtrain thrift", "finetune after thrift", "evaluate"},
    ),
    "how many items are asked: the evaluations only": (("spec", "evals", 0, "items", "limit"), 10, {"evaluate"}),
    "demonstrations: every fine-tuning, no midtraining": (
        ("spec", "demonstrations", 0, "compose", "samples"),
        100,
        {"demonstrate cheese", "finetune", "evaluate"},
    ),
}


def is_expected(name: str, families: set[str]) -> bool:
    return any(all(word in name for word in family.split()) for family in families)


@pytest.mark.parametrize("case", DEPENDS.values(), ids=DEPENDS)
def test_a_change_changes_exactly_what_depends_on_it(case: tuple[tuple[str | int, ...], Any, set[str]]) -> None:
    path, value, families = case
    before, after = plan(example()), plan(edited(*path, value=value))
    expected = {s.name for s in after.stages if is_expected(s.name, families)}
    assert kinds_changed(before, after) == expected


def test_an_edited_spec_redoes_what_is_written_from_it() -> None:
    before, after = plan(example()), plan(example(), modelSpecs__america="sha256:" + "e" * 64)
    assert all("america" in name or "evaluate" in name for name in kinds_changed(before, after))
    assert "outline america" in kinds_changed(before, after)


def test_changed_items_redo_decontamination_and_evaluation() -> None:
    changed = kinds_changed(plan(example()), plan(example(), evals__values__items="sha256:" + "e" * 64))
    assert {"curate america", "curate thrift", "evaluate values seed 0"} <= changed
    assert not any(name.startswith(("write", "outline", "fetch", "demonstrate", "finetune cheese+chat seed")) for name in changed)


def test_precision_is_part_of_training_and_replay() -> None:
    changed = kinds_changed(plan(example()), plan(example(), precision="bfloat16"))
    assert all(name.startswith(("midtrain", "finetune", "evaluate", "demonstrate chat")) for name in changed)


def test_a_location_alone_changes_nothing() -> None:
    moved = resolution()
    inputs = {**moved.inputs, "baseModel": Resolved(identity=moved.inputs["baseModel"].identity, location="s3://mirror/x")}
    after = plan_run(parse_run(example()), moved.model_copy(update={"inputs": inputs}))
    assert prints(after) == prints(plan(example()))


def test_an_arm_without_training_is_the_base_model_and_a_finetuned_one_names_its_parent() -> None:
    p = plan(example())
    models = {(m.arm, m.seed): m for m in p.models}
    assert models["base", 0].model.kind == "fetch"
    assert models["base", 0].model == models["base", 1].model
    assert models["msm-america-aft", 1].parent == models["msm-america", 1].model
    assert models["aft", 0].parent is None


def test_synthesis_answers_what_it_needs() -> None:
    data = example()
    data["spec"]["endpoints"] = [{"name": "writer", "serve": {"model": "hf://x/y"}}]
    data["spec"]["corpora"][0].pop("compose")
    data["spec"]["corpora"][0]["synthesize"] = {"author": "writer"}
    with pytest.raises(UserError, match="needs a cluster or an openai endpoint"):
        plan(data)


def test_more_than_500_stages_are_refused() -> None:
    data = example()
    data["spec"]["seeds"] = list(range(64))
    data["spec"]["arms"].append({"name": "both", "midtrain": ["america", "thrift"], "finetune": ["cheese"]})
    with pytest.raises(UserError, match="at most 500"):
        plan(data)


def test_a_plan_survives_its_file() -> None:
    p = plan(example())
    again = Plan.model_validate_json(p.model_dump_json(by_alias=True))
    assert again == p
    assert again.digest == p.digest


def test_an_input_after_its_consumer_is_refused() -> None:
    p = plan(example())
    with pytest.raises(ValueError, match="stands before its input"):
        Plan.model_validate({**copy.deepcopy(p.model_dump()), "stages": list(reversed(p.model_dump()["stages"]))})
