import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.api import parse_run
from msm.errors import UserError
from msm.plan import plan_run
from msm.preview import gpus, speed
from msm.preview.forecast import counted, forecast
from msm.preview.lengths import REPLAY_TOKENS, cut
from msm.preview.memory import Training, memory
from msm.preview.report import Forecast, StageForecast
from msm.preview.shape import shape
from msm.resolve.digests import text_identity
from msm.train.counting import count
from tests.models import CONFIGS
from tests.runs import resolution
from tests.unit.preview.kept import SPEC, a_store, commit, plan_of, planned, rows, run_data, the, tokenizer_files

PLAN = plan_of(parse_run(run_data()))


def looked_at(directory: Path, *, fetched: bool = False, **midtrain: object) -> Forecast:
    run, plan = planned(run_data(**midtrain), directory)
    store = a_store(directory)
    if fetched:
        commit(store, the(plan, "fetch"), tokenizer_files() | {"model.safetensors": b"0" * 8})
    return forecast(run, "example-1", plan, store, directory)


def stage(found: Forecast, part: str) -> StageForecast:
    return next(s for s in found.stages if part in s.name)


def test_a_new_run_is_counted_from_its_own_texts(tmp_path: Path) -> None:
    found = looked_at(tmp_path)
    curate, midtrain = stage(found, "curate america"), stage(found, "midtrain america")
    assert curate.basis == "composed"
    assert curate.tokens == 3000 + (curate.rows or 0)
    assert midtrain.tokens == curate.tokens
    assert midtrain.updates and midtrain.updates >= 3000 // 128
    assert stage(found, "demonstrate chat").tokens == 40 * REPLAY_TOKENS
    assert stage(found, "evaluate").rows == 30


def test_without_the_models_tokenizer_the_assumption_is_stated(tmp_path: Path) -> None:
    assert any("1.35 a word" in line for line in looked_at(tmp_path).assumptions)


def test_with_the_models_tokenizer_counts_are_its_own(tmp_path: Path) -> None:
    found = looked_at(tmp_path, fetched=True)
    curate = stage(found, "curate america")
    assert curate.tokens == 3000 + (curate.rows or 0)
    assert not any("a word" in line for line in found.assumptions)


def test_committed_rows_are_counted_exactly_and_their_stage_costs_nothing(tmp_path: Path) -> None:
    run, plan = planned(run_data(), tmp_path)
    store = a_store(tmp_path)
    commit(store, the(plan, "fetch"), tokenizer_files() | {"model.safetensors": b"0" * 8})
    commit(store, the(plan, "curate"), {"rows.jsonl": rows("one two three", "four five"), "dropped.jsonl": b""})
    found = forecast(run, "example-1", plan, store, tmp_path)
    curate = stage(found, "curate america")
    assert (curate.state, curate.rows, curate.tokens, curate.seconds, curate.basis) == ("committed", 2, 3 + 1 + 2 + 1, None, "counted")
    assert stage(found, "midtrain america").tokens == 7
    assert stage(found, "write america").state == "not needed"
    assert (found.totals.committed, found.totals.to_run) == (2, len(plan.stages) - 4)


def test_a_run_that_is_done_takes_no_time(tmp_path: Path) -> None:
    run, plan = planned(run_data(), tmp_path)
    store = a_store(tmp_path)
    for each in plan.stages:
        chat = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
        files = {"curate": {"rows.jsonl": rows("a b")}, "demonstrate": {"rows.jsonl": chat}, "fetch": tokenizer_files()}
        commit(store, each, files.get(each.kind, {"x": b"y"}))
    found = forecast(run, "example-1", plan, store, tmp_path)
    assert (found.totals.committed, found.totals.to_run, found.totals.seconds, found.totals.tokens) == (len(plan.stages), 0, 0.0, 0)


def test_few_updates_are_a_loud_warning_that_says_what_to_change(tmp_path: Path) -> None:
    few = [w for w in looked_at(tmp_path).warnings if w.startswith("midtrain america")]
    assert len(few) == 1
    assert "under 200" in few[0] and "raise epochs" in few[0]
    assert not [w for w in looked_at(tmp_path, epochs=20).warnings if w.startswith("midtrain america")]


def test_a_chat_that_training_would_refuse_is_named(tmp_path: Path) -> None:
    data = run_data()
    data["spec"]["training"]["finetune"].update({"maxLength": 16, "batchTokens": 16})
    run, plan = planned(data, tmp_path)
    store = a_store(tmp_path)
    commit(store, the(plan, "fetch"), tokenizer_files() | {"model.safetensors": b"0" * 8})
    assert any("more than its maxLength 16" in warning for warning in forecast(run, "example-1", plan, store, tmp_path).warnings)


def test_an_empty_spec_is_found_before_the_run(tmp_path: Path) -> None:
    data = run_data()
    data["spec"]["modelSpecs"][0]["source"] = {"inline": "   "}
    run = parse_run(data)
    with pytest.raises(UserError, match="the spec is empty"):
        forecast(run, "example-1", plan_of(run, "   "), a_store(tmp_path), tmp_path)


def test_items_that_share_their_words_with_the_documents_are_named_before_the_run(tmp_path: Path) -> None:
    data = run_data()
    data["spec"]["corpora"][0]["quality"] = {"decontaminate": ["values"]}
    item = {"id": "i-jacket", "value": "america", "set": "disjoint", "domain": "d", "options": ["a jacket", "a coat"]}
    (tmp_path / "items.jsonl").write_text(json.dumps(item) + "\n", encoding="utf-8")
    run = parse_run(data)
    items = text_identity((tmp_path / "items.jsonl").read_bytes())
    plan = plan_run(run, resolution(modelSpecs__america=text_identity(SPEC.encode()), evals__values__items=items))
    (warning,) = [w for w in forecast(run, "example-1", plan, a_store(tmp_path), tmp_path).warnings if "eval items" in w]
    assert "curate america" in warning
    assert "i-jacket: jacket" in warning
    assert "reword" in warning


def test_what_is_not_at_hand_is_estimated_and_says_so(tmp_path: Path) -> None:
    run, plan = planned(run_data(), tmp_path)
    (tmp_path / "items.jsonl").unlink()
    found = forecast(run, "example-1", plan, a_store(tmp_path), tmp_path)
    assert (stage(found, "evaluate").rows, stage(found, "evaluate").basis) == (None, "estimated")


def test_nothing_is_written_to_the_store(tmp_path: Path) -> None:
    run, plan = planned(run_data(), tmp_path)
    store = a_store(tmp_path)
    before = {info.key: info.etag for info in store.list("")}
    forecast(run, "example-1", plan, store, tmp_path)
    assert {info.key: info.etag for info in store.list("")} == before


def test_times_follow_tokens_and_the_size_of_the_model() -> None:
    short, long = (speed.training_seconds(tokens, "lora", "float32", 1.0) for tokens in (16_000, 32_000))
    assert long - short == pytest.approx(100.0)
    assert speed.training_seconds(16_000, "lora", "float32", 2.0) == pytest.approx(long)
    assert speed.training_seconds(16_000, "full", "float32", 1.0) > short


ON_GPUS = {"gpusPerNode": 4}
EIGHT = shape(CONFIGS["Qwen3-8B-Base"])


def test_on_gpus_no_time_is_invented_for_a_model_of_unknown_size(tmp_path: Path) -> None:
    found = stage(looked_at(tmp_path, resources=ON_GPUS), "midtrain america")
    assert (found.seconds, found.gpus, found.gpu_memory) == (None, 4, None)


def test_memory_and_time_on_gpus_follow_from_the_models_sizes_and_the_assumption_is_stated(tmp_path: Path) -> None:
    run, plan = planned(run_data(resources=ON_GPUS), tmp_path)
    found = forecast(run, "example-1", plan, a_store(tmp_path), tmp_path, EIGHT)
    midtrain, finetune = stage(found, "midtrain america"), stage(found, "finetune")
    assert midtrain.gpus == 4 and midtrain.seconds is not None
    assert midtrain.host_memory == 4 * memory(EIGHT, Training(tokens=1, length=1, bfloat16=False)).host
    assert (finetune.gpus, finetune.gpu_memory) == (None, None)
    assert found.totals.gpu_hours == round(4 * midtrain.seconds / 3600, 1)
    assert any("100 TFLOP/s a GPU" in line for line in found.assumptions)


def test_activations_that_are_computed_again_take_less_memory_and_more_time(tmp_path: Path) -> None:
    _, plan = planned(run_data(), tmp_path)
    kept = the(plan, "midtrain")
    again = kept.model_copy(
        update={
            "execution": {**kept.execution, "resources": {**kept.execution["resources"], "gpusPerNode": 1, "gradientCheckpointing": True}}
        }
    )
    assert EIGHT is not None
    assert gpus.training_memory(again, EIGHT).layers < gpus.training_memory(kept, EIGHT).layers / 4
    assert gpus.operations(again, EIGHT) > 1.3 * gpus.operations(kept, EIGHT)


def test_a_fetched_model_tells_its_own_size(tmp_path: Path) -> None:
    run, plan = planned(run_data(resources={"gpusPerNode": 1}), tmp_path)
    store = a_store(tmp_path)
    config = json.dumps(CONFIGS["Qwen3-8B-Base"]).encode()
    commit(store, the(plan, "fetch"), tokenizer_files() | {"model.safetensors": b"0" * 8, "config.json": config})
    assert stage(forecast(run, "example-1", plan, store, tmp_path), "midtrain america").gpu_memory is not None


@given(st.lists(st.integers(1, 300), min_size=1, max_size=200))
def test_counts_are_those_of_the_training_itself(lengths: list[int]) -> None:
    assert counted(lengths, the(PLAN, "midtrain")) == count(lengths, 128, 128, 1)


@given(st.lists(st.integers(2, 300), min_size=1, max_size=100), st.integers(1, 5000))
def test_a_cut_never_exceeds_its_budget_and_keeps_rows_in_order(lengths: list[int], budget: int) -> None:
    kept = cut(lengths, budget, None)
    assert sum(length - 1 for length in kept) == min(budget, sum(length - 1 for length in lengths))
    assert list(kept[:-1]) == lengths[: max(0, len(kept) - 1)]
    assert cut(lengths, None, 3) == tuple(lengths[:3])
    assert cut(lengths, None, None) == tuple(lengths)
