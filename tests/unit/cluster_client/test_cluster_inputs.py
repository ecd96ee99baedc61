"""What `msm submit` reads, uploads and puts in the file's place."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msm.api import parse_run
from msm.cluster.local_inputs import local_inputs, rewritten
from msm.cluster.storage import store_config
from msm.cluster.submission import prepare, submit
from msm.errors import TryAgain, UserError
from msm.resolve.clients import Clients
from msm.resolve.run import resolve_run
from msm.store import StoreConfig, open_store
from msm.store.blobs import get_blob
from tests.runs import example
from tests.unit.cluster_client.scripted_cluster import ScriptedCluster, refusal, silence

ITEM = {"id": "i", "value": "america", "set": "free", "domain": "food", "options": ["cheddar", "brie"]}
ENVIRON = {"MSM_STORE_URI": "s3://bucket/prefix"}


def laptop_run(directory: Path) -> dict:
    """A run with a local file in every place that may have one."""
    data = example()
    spec = data["spec"]
    (directory / "specs").mkdir(exist_ok=True)
    (directory / "specs" / "america.md").write_text("SmolLM cares about America.")
    (directory / "docs").mkdir(exist_ok=True)
    (directory / "docs" / "b.md").write_text("Second.")
    (directory / "docs" / "a.txt").write_text("First.")
    (directory / "chats.jsonl").write_text(json.dumps({"messages": [{"role": "assistant", "content": "Hi."}]}))
    (directory / "items.jsonl").write_text(json.dumps(ITEM) + "\n")
    spec["modelSpecs"][0]["source"] = {"path": "specs/america.md"}
    spec["corpora"].append({"name": "given", "source": {"path": "docs"}})
    spec["demonstrations"].append({"name": "tea", "source": {"uri": f"file://{directory}/chats.jsonl"}})
    (directory / "run.yaml").write_text(yaml.safe_dump(data))
    return data


def store_of(directory: Path) -> StoreConfig:
    return StoreConfig(f"file://{directory}/store")


def test_every_local_file_becomes_a_blob_and_nothing_else_changes(tmp_path: Path) -> None:
    data = laptop_run(tmp_path)
    prepared = prepare(tmp_path / "run.yaml", ENVIRON)
    spec = prepared.body["spec"]
    assert [one.field for one in prepared.inputs] == [
        "spec.modelSpecs.america.source",
        "spec.corpora.given.source",
        "spec.demonstrations.tea.source",
        "spec.evals.values.items.source",
    ]
    sources = [spec["modelSpecs"][0], spec["corpora"][-1], spec["demonstrations"][-1], spec["evals"][0]["items"]]
    for source, one in zip([s["source"] for s in sources], prepared.inputs, strict=True):
        assert source == {"uri": f"s3://bucket/prefix/blobs/sha256/{one.sha256[:2]}/{one.sha256}"}
        assert sha256(one.data).hexdigest() == one.sha256
    for source, before in zip(sources, [data["spec"]["modelSpecs"][0], data["spec"]["corpora"][-1]], strict=False):
        source["source"] = before["source"]
    assert spec["modelSpecs"] == data["spec"]["modelSpecs"]
    assert {key: spec[key] for key in ("arms", "seeds", "training", "baseModel")} == {
        key: data["spec"][key] for key in ("arms", "seeds", "training", "baseModel")
    }


def test_a_run_has_the_same_identities_in_a_cluster_and_on_the_laptop(tmp_path: Path) -> None:
    data = laptop_run(tmp_path)
    data["spec"]["baseModel"]["uri"] = f"file://{tmp_path}/specs"
    kept: dict[str, bytes] = {}

    def keep(text: bytes) -> str:
        kept[sha256(text).hexdigest()] = text
        return sha256(text).hexdigest()

    local = resolve_run(parse_run(data), tmp_path, Clients(cache=tmp_path), keep, "float32").inputs
    uploaded = {one.field: one.sha256 for one in prepare(tmp_path / "run.yaml", ENVIRON).inputs}
    for place in ("modelSpecs.america", "corpora.given", "demonstrations.tea"):
        assert local[place].identity == f"sha256:{uploaded[f'spec.{place}.source']}"
    assert local["evals.values.items"].identity == f"sha256:{uploaded['spec.evals.values.items.source']}"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.text(st.characters(blacklist_categories=("Cs",)), min_size=1).filter(str.strip), st.sampled_from([".md", ".txt", ".jsonl"]))
def test_a_corpus_is_uploaded_as_the_local_executor_would_keep_it(tmp_path: Path, text: str, suffix: str) -> None:
    file = tmp_path / f"docs{suffix}"
    file.write_bytes(text.encode())
    data = example()
    data["spec"]["corpora"].append({"name": "given", "source": {"path": file.name}})
    data["spec"]["evals"] = []
    (one,) = local_inputs(data["spec"], tmp_path)
    assert one.data == text.encode() if suffix == ".jsonl" else json.loads(one.data)["id"] == file.name
    assert rewritten(data["spec"], [one], "s3://b/")["corpora"][-1]["source"]["uri"].startswith("s3://b/blobs/sha256/")


MISTAKES = {
    "a file that is not there": (
        lambda spec: spec["modelSpecs"].append({"name": "gone", "source": {"path": "specs/gone.md"}}),
        "spec.modelSpecs.gone.source: ",
    ),
    "items that are none": (
        lambda spec: spec["evals"].append({"name": "bad", "items": {"source": {"path": "specs/america.md"}}}),
        "spec.evals.bad.items.source: specs/america.md",
    ),
    "a base model in a directory": (
        lambda spec: spec["baseModel"].update(uri="models/mine"),
        'spec.baseModel.uri: "models/mine" is a directory of this machine, which a cluster cannot read; copy it to s3://',
    ),
    "a served model in a directory": (
        lambda spec: spec.update(endpoints=[{"name": "writer", "serve": {"model": "file:///models/mine"}}]),
        'spec.endpoints.writer.serve.model: "file:///models/mine" is a directory of this machine',
    ),
}


@pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES)
def test_what_cannot_be_uploaded_is_said_before_anybody_is_asked(case: tuple, tmp_path: Path) -> None:
    change, said = case
    data = laptop_run(tmp_path)
    change(data["spec"])
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(UserError) as found:
        prepare(tmp_path / "run.yaml", ENVIRON)
    assert str(found.value).startswith(said)


def test_without_a_store_the_user_is_told_how_to_name_one(tmp_path: Path) -> None:
    laptop_run(tmp_path)
    with pytest.raises(UserError, match="MSM_STORE_URI: is not set, and the run names no storage of its own"):
        prepare(tmp_path / "run.yaml", {})
    with pytest.raises(UserError, match="is a file of this machine, and the store file:///x cannot be read by a cluster"):
        prepare(tmp_path / "run.yaml", {"MSM_STORE_URI": "file:///x"})


def test_a_run_without_local_files_needs_no_store(tmp_path: Path) -> None:
    data = example()
    data["spec"]["evals"][0]["items"]["source"] = {"uri": "hf://datasets/org/items/values.jsonl"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(data))
    assert prepare(tmp_path / "run.yaml", {}).inputs == ()


NUMBERS = {
    "a number that YAML takes for text": ("midtrain: {learningRate: 1e-4}", {"learningRate": 1e-4}),
    "a number in quotes": ("midtrain: {epochs: '2'}", {"epochs": 2}),
    "a whole number with a point": ("midtrain: {epochs: 2.0}", {"epochs": 2}),
    "a duration stays as it is written": ("midtrain: {checkpointEvery: 1h30m}", {"checkpointEvery": "1h30m"}),
    "what has no type of ours stays": (
        "midtrain: {podTemplate: {metadata: {annotations: {a: '1', b: 1e-4, c: 2024-01-01}}}}",
        {"podTemplate": {"metadata": {"annotations": {"a": "1", "b": "1e-4", "c": "2024-01-01"}}}},
    ),
}


@pytest.mark.parametrize("case", NUMBERS.values(), ids=NUMBERS)
def test_numbers_are_sent_as_numbers_and_quantities_as_they_are_written(case: tuple, tmp_path: Path) -> None:
    text, sent = case
    data = example()
    data["spec"]["evals"][0]["items"]["source"] = {"uri": "hf://datasets/org/items/values.jsonl"}
    del data["spec"]["training"]
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(data) + f"  training: {{{text}}}\n")
    spec = prepare(file, {}).body["spec"]
    assert spec["training"] == {"midtrain": sent}
    assert spec["corpora"][0]["tokens"] == "24k"


def test_the_store_is_the_runs_own_and_the_way_to_it_the_environments() -> None:
    storage = {"uri": "s3://own/prefix/", "endpoint": "http://minio.storage.svc:9000", "region": "here"}
    environ = {"MSM_STORE_URI": "s3://other", "MSM_STORE_ENDPOINT": "http://localhost:9000", "AWS_ACCESS_KEY_ID": "k"}
    found = store_config(storage, environ)
    assert (found.uri, found.endpoint, found.region, found.access_key) == ("s3://own/prefix", "http://localhost:9000", "here", "k")
    assert store_config(storage, {}).endpoint == "http://minio.storage.svc:9000"
    assert store_config(None, environ).uri == "s3://other"


def submitted(directory: Path, cluster: ScriptedCluster, dry_run: bool = False) -> tuple[object, list[StoreConfig]]:
    opened: list[StoreConfig] = []

    def opener(config: StoreConfig) -> object:
        opened.append(config)
        return open_store(store_of(directory))

    return submit(prepare(directory / "run.yaml", ENVIRON), cluster, opener, dry_run), opened  # type: ignore[arg-type]


def test_uploads_come_before_the_run_and_after_the_clusters_opinion(tmp_path: Path) -> None:
    laptop_run(tmp_path)
    cluster = ScriptedCluster()
    found, opened = submitted(tmp_path, cluster)
    assert opened[0].uri == "s3://bucket/prefix"
    assert [("dryRun" in one.query) for one in cluster.sent if one.method == "PATCH"] == [True, False]
    applied = cluster.sent[-1]
    assert (applied.query["fieldManager"], applied.query["fieldValidation"]) == ("msm", "Strict")
    assert "force" not in applied.query
    store = open_store(store_of(tmp_path))
    for one in found.uploads:  # type: ignore[attr-defined]
        assert len(get_blob(store, one.uri.rsplit("/", 1)[1])) == one.bytes


def test_nothing_is_uploaded_for_a_run_that_the_cluster_refuses(tmp_path: Path) -> None:
    laptop_run(tmp_path)
    cluster = ScriptedCluster(faults=[("PATCH", refusal(422, "Invalid", "no", ("spec.arms", "too many", "FieldValueInvalid")))])
    with pytest.raises(UserError, match=r"spec\.arms: too many"):
        submitted(tmp_path, cluster)
    assert cluster.writes() == []
    assert not (tmp_path / "store").exists()


def test_nothing_is_written_by_a_dry_run(tmp_path: Path) -> None:
    laptop_run(tmp_path)
    cluster = ScriptedCluster()
    found, opened = submitted(tmp_path, cluster, dry_run=True)
    assert (opened, cluster.writes(), cluster.runs) == ([], [], {})
    assert len(found.uploads) == 4  # type: ignore[attr-defined]


def test_the_same_file_twice_changes_nothing(tmp_path: Path) -> None:
    laptop_run(tmp_path)
    cluster = ScriptedCluster()
    first, second = submitted(tmp_path, cluster)[0], submitted(tmp_path, cluster)[0]
    assert (first.applied.result, second.applied.result) == ("created", "unchanged")  # type: ignore[attr-defined]


def test_a_silence_in_the_middle_leaves_no_run_and_the_next_call_goes_on(tmp_path: Path) -> None:
    laptop_run(tmp_path)
    cluster = ScriptedCluster()
    prepared = prepare(tmp_path / "run.yaml", ENVIRON)
    cluster.faults = [("GET", silence())]
    with pytest.raises(TryAgain):
        submit(prepared, cluster, lambda _: open_store(store_of(tmp_path)), False)
    assert cluster.runs == {}
    assert submitted(tmp_path, cluster)[0].applied.result == "created"  # type: ignore[attr-defined]
