import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from msm.errors import UserError
from msm.local.accept import accept, preview_plan
from tests.runs import example

ITEM = {"id": "a", "value": "v", "set": "free", "domain": "d", "options": ["a cheap chair", "a dear chair"]}


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    data = example()
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    data["spec"]["baseModel"]["uri"] = model.as_uri()
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    (tmp_path / "items.jsonl").write_text(json.dumps(ITEM), encoding="utf-8")
    return path


def edit(path: Path, change: Any) -> None:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(yaml.safe_dump(data), encoding="utf-8")


def test_a_second_call_finds_the_plan_frozen(run_file: Path, tmp_path: Path) -> None:
    first, second = accept(run_file, {}, tmp_path), accept(run_file, {}, tmp_path)
    assert (first.frozen_before, second.frozen_before) == (False, True)
    assert first.plan == second.plan


def test_a_preview_freezes_nothing(run_file: Path, tmp_path: Path) -> None:
    assert not preview_plan(run_file, {}, tmp_path).frozen_before
    assert not accept(run_file, {}, tmp_path).frozen_before


def test_scheduling_may_change_without_making_another_run(run_file: Path, tmp_path: Path) -> None:
    before = accept(run_file, {}, tmp_path).uid
    edit(run_file, lambda data: data["spec"].update(execution={"parallelism": 3}, tracking={"experiment": "x"}))
    assert accept(run_file, {}, tmp_path).uid == before


def test_a_field_at_its_default_makes_no_other_run_so_that_later_versions_may_add_fields(run_file: Path, tmp_path: Path) -> None:
    before = accept(run_file, {}, tmp_path).uid
    edit(run_file, lambda data: data["spec"]["arms"][0].update(versus=[]))
    edit(run_file, lambda data: data["spec"]["corpora"][0].setdefault("quality", {}).update(nearDuplicates=0.7))
    assert accept(run_file, {}, tmp_path).uid == before


def test_changed_contents_of_a_local_file_make_another_run(run_file: Path, tmp_path: Path) -> None:
    before = accept(run_file, {}, tmp_path)
    (tmp_path / "items.jsonl").write_text(json.dumps({**ITEM, "id": "b"}), encoding="utf-8")
    items = accept(run_file, {}, tmp_path)
    (tmp_path / "model" / "config.json").write_text('{"a": 1}', encoding="utf-8")
    model = accept(run_file, {}, tmp_path)
    assert len({before.uid, items.uid, model.uid}) == 3


MISTAKES = {
    "items without two options": (lambda d: None, {**ITEM, "options": ["only"]}, "options"),
    "a file that is not there": (lambda d: d["spec"]["evals"][0]["items"]["source"].update(path="absent.jsonl"), ITEM, "absent.jsonl"),
    "a run that is suspended": (lambda d: d["spec"].update(suspend=True), ITEM, "spec.suspend"),
    "several nodes": (lambda d: d["spec"]["training"]["midtrain"].update(resources={"nodes": 2}), ITEM, "needs a cluster"),
    "a ConfigMap": (
        lambda d: d["spec"]["modelSpecs"][0].update(source={"configMapKeyRef": {"name": "a", "key": "b"}}),
        ITEM,
        "needs a cluster",
    ),
    "a base model on a volume": (lambda d: d["spec"]["baseModel"].update(uri="pvc://claim/model"), ITEM, "needs a cluster"),
    "an unknown scheme": (lambda d: d["spec"]["baseModel"].update(uri="gopher://x"), ITEM, "gopher"),
    "a store nobody can write": (lambda d: d["spec"].update(storage={"uri": "file:///dev/null/x"}), ITEM, "/dev/null/x"),
}


@pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found_before_anything_runs(case: tuple[Any, dict[str, Any], str], run_file: Path, tmp_path: Path) -> None:
    change, item, words = case
    edit(run_file, change)
    (tmp_path / "items.jsonl").write_text(json.dumps(item), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        accept(run_file, {}, tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob(".msm/store/runs/*")), "nothing was accepted"
