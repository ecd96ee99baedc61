"""All inputs of a run are resolved under the names that the planner asks for."""

import hashlib

import pytest

from msm.api import parse_run
from msm.errors import UserError
from msm.plan import plan_run
from msm.resolve import Clients, resolve_run
from tests.runs import example


def keep(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def data(tmp_path):
    run = example()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "items.jsonl").write_text("{}")
    (tmp_path / "chats.jsonl").write_text("{}")
    (tmp_path / "book.txt").write_text("A book.")
    run["spec"]["baseModel"]["uri"] = f"file://{tmp_path}/model"
    run["spec"]["corpora"].append({"name": "book", "source": {"path": "book.txt"}})
    run["spec"]["demonstrations"].append({"name": "file", "source": {"path": "chats.jsonl"}})
    run["spec"]["arms"].append({"name": "more", "midtrain": ["book"], "finetune": ["file"]})
    return run


def resolve(data, base):
    return resolve_run(parse_run(data), base, Clients(cache=base / "cache"), keep, "float32")


def test_the_planner_finds_every_input(data, tmp_path):
    resolution = resolve(data, tmp_path)
    assert plan_run(parse_run(data), resolution).stages
    names = "baseModel corpora.book demonstrations.file evals.values.items modelSpecs.america modelSpecs.thrift"
    assert sorted(resolution.inputs) == names.split()
    assert resolution.identity("modelSpecs.america") == "sha256:" + keep(b"SmolLM cares about America.")
    assert resolution.blob("corpora.book") == keep(b'{"id": "book.txt", "text": "A book."}\n')


def test_moving_the_files_changes_no_identity(data, tmp_path):
    before = resolve(data, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    for name in ("items.jsonl", "chats.jsonl", "book.txt", "model"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    data["spec"]["baseModel"]["uri"] = f"file://{tmp_path}/elsewhere/model"
    after = resolve(data, tmp_path / "elsewhere")
    assert {k: v.identity for k, v in after.inputs.items()} == {k: v.identity for k, v in before.inputs.items()}


def test_a_missing_file_is_named_by_its_place_in_the_run(data, tmp_path):
    (tmp_path / "chats.jsonl").unlink()
    with pytest.raises(UserError, match=r"^spec\.demonstrations\.file\.source: .*chats\.jsonl cannot be read"):
        resolve(data, tmp_path)


def test_a_config_map_needs_a_cluster(data, tmp_path):
    data["spec"]["modelSpecs"][0]["source"] = {"configMapKeyRef": {"name": "specs", "key": "a"}}
    with pytest.raises(UserError, match="needs a cluster"):
        resolve(data, tmp_path)
