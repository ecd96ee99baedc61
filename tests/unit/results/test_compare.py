from pathlib import Path

import pytest

from msm.results.compare import compare_runs, flatten
from msm.results.comparison import Comparison, Paired
from tests.finished import Finished, finish, margin_of, run_data

FREE = [f"america-free-{n}" for n in (1, 2, 3)]


def compared(a: Finished, b: Finished) -> Comparison:
    return compare_runs(a.survey(), a.uid, b.survey(), b.uid)


def paired(found: Comparison, metric: str, arm: str, versus: str = "") -> Paired:
    (one,) = (p for p in found.paired if (p.metric, p.arm, p.versus) == (metric, arm, versus))
    return one


def test_shared_seeds_are_paired_by_seed_and_item(tmp_path: Path) -> None:
    a, b = finish(tmp_path / "a", lift=2.0), finish(tmp_path / "b", run_data(seeds=(0, 1, 2)), lift=3.0)
    one = paired(compared(a, b), "values.america.free.margin", "msm-america-aft")
    by_hand = [margin_of("msm", s, i, 3.0) - margin_of("msm", s, i, 2.0) for s in (0, 1) for i in FREE]
    assert one.estimate == pytest.approx(sum(by_hand) / len(by_hand)) == pytest.approx(1.2)
    assert (one.by, one.seeds, one.items, one.over) == ("seed and item", 2, 3, "seeds")
    assert (one.low, one.high) == pytest.approx((1.2, 1.2)), "the seeds' means agree, so Student's t has no width"


def test_the_difference_of_effects_is_the_difference_of_differences(tmp_path: Path) -> None:
    a, b = finish(tmp_path / "a", lift=2.0), finish(tmp_path / "b", lift=3.0)
    found = compared(a, b)
    arm, control = (paired(found, "values.america.free.margin", name) for name in ("msm-america-aft", "aft"))
    effect = paired(found, "values.america.free.margin", "msm-america-aft", "aft")
    assert effect.estimate == pytest.approx(arm.estimate - control.estimate)
    assert control.estimate == pytest.approx(0.0) and control.sign == 0


def test_without_a_shared_seed_items_are_paired_and_it_says_so(tmp_path: Path) -> None:
    a, b = finish(tmp_path / "a", run_data(seeds=(0, 1))), finish(tmp_path / "b", run_data(seeds=(4,)))
    found = compared(a, b)
    one = paired(found, "values.america.free.margin", "aft")
    by_hand = [margin_of("aft", 4, i, 2.0) - (margin_of("aft", 0, i, 2.0) + margin_of("aft", 1, i, 2.0)) / 2 for i in FREE]
    assert one.estimate == pytest.approx(sum(by_hand) / 3)
    assert (one.by, one.seeds, one.over) == ("item", 0, "items")
    assert one.low <= one.estimate <= one.high
    assert any(note.startswith("no seed in common") for note in found.notes)


def test_swapping_the_runs_flips_the_signs(tmp_path: Path) -> None:
    a, b = finish(tmp_path / "a", lift=2.0), finish(tmp_path / "b", lift=3.0)
    there, back = compared(a, b), compared(b, a)
    assert there.paired and [p.estimate for p in there.paired] == pytest.approx([-p.estimate for p in back.paired])


def test_a_run_and_itself_do_not_differ(tmp_path: Path) -> None:
    run = finish(tmp_path)
    found = compared(run, run)
    assert (found.differences, found.notes, found.stages_of_a, found.stages_of_b) == ((), (), (), ())
    assert found.shared_stages == len(run.plan.stages)
    assert all(p.estimate == 0 for p in found.paired)
    assert all(row.a == row.b for row in (*found.effects, *found.scores))


def test_what_differs_is_named_by_field_and_name(tmp_path: Path) -> None:
    other = run_data()
    other["spec"]["training"]["midtrain"]["learningRate"] = 3e-4
    other["spec"]["arms"] = other["spec"]["arms"][:-1]
    other["spec"]["execution"] = {"parallelism": 2}
    found = compared(finish(tmp_path / "a"), finish(tmp_path / "b", other))
    named = {d.field: (d.a, d.b) for d in found.differences}
    assert named["training.midtrain.learningRate"][1] == "0.0003"
    assert not any("execution" in field for field in named), "what changes no result is no difference"
    assert all(field.split(".")[0] in ("training", "arms") for field in named)
    assert {row.arm for row in found.scores if row.b is None} == {"base"}
    assert "midtrain america seed 0" in found.stages_of_b


def test_items_in_other_words_are_not_compared(tmp_path: Path) -> None:
    a, b = finish(tmp_path / "a").survey(), finish(tmp_path / "b").survey()
    changed = tuple(item.__class__(item.id, item.value, item.set, item.domain, item.aligned, "another") for item in b.items["values"][:1])
    b.items["values"] = changed + tuple(b.items["values"][1:])  # type: ignore[index]
    found = compare_runs(a, "a", b, "b")
    assert "values: 5 of 6 items are the same in both; differences rest on those" in found.notes
    assert paired(found, "values.america.free.margin", "aft").items == 2


def test_lists_are_flattened_by_name() -> None:
    spec = {"seeds": [0, 1], "arms": [{"name": "aft", "finetune": ["a", "b"]}], "training": {"lora": {"rank": 8}}}
    assert flatten(spec) == {"seeds": "0, 1", "arms.aft.finetune": "a, b", "training.lora.rank": "8"}
