import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.store import StoreConfig, open_store
from msm.tracking import LiveStage, Snapshot
from msm.tracking.desired import MAX_KEY, PARENT, Tag, desired_runs, effect_metrics, fitting, flatten
from msm.tracking.registry import candidate, desired_versions
from msm.tracking.sources import version_source
from tests.tracked import UID, committed_snapshot, planned, results, run_data

MLFLOW_NAME = r"[\w.\- :]+"
"""MLflow's rule for names without slashes; checked against MLflow itself in the integration tests."""


@pytest.fixture
def store(tmp_path: Path):
    return open_store(StoreConfig(uri=(tmp_path / "store").as_uri()))


@pytest.fixture
def snapshot(store) -> Snapshot:
    return committed_snapshot(store, run_data())


def record(snapshot: Snapshot, store, name: str):
    return next(r for r in desired_runs(snapshot, store.uri) if r.name == name)


def test_nothing_but_the_parent_is_shown_before_a_stage_starts():
    run, plan = planned(run_data())
    (parent,) = desired_runs(Snapshot(run, UID, plan, {}), "file:///s")
    assert (parent.key, parent.status) == (PARENT, "RUNNING")
    assert parent.params["arms"] == '["aft", "msm-america-aft"]'
    assert parent.params["modelSpec.america"] == "sha256:" + "b" * 64


def test_every_committed_stage_is_a_finished_run_with_its_identity(snapshot, store):
    records = {r.key: r for r in desired_runs(snapshot, store.uri) if r.key != PARENT}
    assert list(records) == [s.fingerprint for s in snapshot.plan.stages]
    for fingerprint, manifest in snapshot.committed.items():
        assert records[fingerprint].status == "FINISHED"
        assert records[fingerprint].tags[Tag.ATTEMPT] == manifest.attempt
        assert records[fingerprint].metrics == {"artifact.rows": 3.0}


def test_a_training_names_what_it_was_trained_on(snapshot, store):
    name = next(s.name for s in snapshot.plan.stages if s.kind == "finetune")
    datasets = record(snapshot, store, name).datasets
    assert sorted(d.name for d in datasets) == ["chat", "cheese"]
    for dataset in datasets:
        uri = json.loads(dataset.source)["uri"]
        assert uri.startswith(store.uri + "/demonstrate/")
        assert store.get(uri.removeprefix(store.uri + "/"))
        assert 8 <= len(dataset.digest) <= 36
        assert dataset.context == "training"


def test_an_evaluation_names_its_items(snapshot, store):
    (dataset,) = record(snapshot, store, "evaluate values seed 7").datasets
    assert (dataset.name, dataset.context, dataset.digest) == ("values items", "evaluation", "d" * 36)


def test_a_reused_stage_is_marked_only_when_its_run_is_made(snapshot, store):
    fetch = snapshot.plan.stages[0]
    reused = Snapshot(snapshot.run, "other", snapshot.plan, snapshot.committed, reused=frozenset({fetch.fingerprint}))
    marked = [r.key for r in desired_runs(reused, store.uri) if Tag.REUSED in r.first_tags]
    assert marked == [fetch.fingerprint]


def test_a_stage_at_work_is_running_and_stops_with_the_run():
    run, plan = planned(run_data())
    live = {plan.stages[0].fingerprint: LiveStage("01ARZ3NDEKTSV4RRFFQ69G5FAV")}
    statuses = {
        phase: [r.status for r in desired_runs(Snapshot(run, UID, plan, {}, live, phase=phase), "file:///s")]
        for phase in ("Running", "Failed", "Suspended")
    }
    assert statuses == {"Running": ["RUNNING"] * 2, "Failed": ["FAILED"] * 2, "Suspended": ["KILLED"] * 2}


def test_versions_come_parents_first_and_only_for_trained_stages(snapshot, store):
    versions = list(desired_versions(snapshot, store.uri, None))
    kinds = [v.tags[Tag.KIND] for v in versions]
    assert kinds == ["midtrain", "finetune", "finetune"]
    midtrain = versions[0]
    assert {v.parent for v in versions[1:]} == {None, midtrain.fingerprint}
    assert midtrain.tags[Tag.ARMS] == "msm-america-aft"
    assert {v.tags[Tag.ARMS] for v in versions[1:]} == {"aft", "msm-america-aft"}
    assert {v.tags[Tag.SEED] for v in versions} == {"7"}
    assert {v.tags[Tag.BASE] for v in versions} == {"sha256:" + "a" * 64}


def test_a_version_lies_where_its_files_are(snapshot, store):
    for version in desired_versions(snapshot, store.uri, None):
        key = version.source.removeprefix(store.uri + "/") + "/adapter_model.safetensors"
        assert store.get(key)


SOURCES = {
    "a file stays a file for a local MLflow": ("file:///s/a%20b", None, "file:///s/a%20b"),
    "a bucket stays a bucket for a server": ("s3://b/p/x", "box", "s3://b/p/x"),
    "a file of this machine names it for a server": ("file:///s/a%20b", "box", "msm-file://box/s/a%20b"),
}


@pytest.mark.parametrize(("uri", "host", "source"), SOURCES.values(), ids=SOURCES)
def test_version_source(uri, host, source):
    assert version_source(uri, host) == source


def test_the_candidate_is_the_first_listed_seed_of_its_arm():
    data = run_data(seeds=[5, 1, 3])
    run, plan = planned(data)
    ref = candidate(Snapshot(run, UID, plan, {}))
    assert ref is not None
    assert plan.stage(ref).params["seed"] == 5
    assert "parent" in plan.stage(ref).inputs


def test_a_run_without_a_candidate_points_at_nothing():
    run, plan = planned(run_data(registry={"model": "cheese"}))
    assert candidate(Snapshot(run, UID, plan, {})) is None


def test_effects_become_an_estimate_and_its_interval():
    name = "effect.values.america.free.margin.msm-america-aft.vs.aft"
    assert effect_metrics(results()) == {name: 2.0, f"{name}.low": 1.5, f"{name}.high": 2.5}


@pytest.mark.parametrize("bound", [None, math.nan, math.inf, "wide", True])
def test_a_bound_that_is_no_finite_number_is_left_out(bound):
    data = results()
    data["effects"][0]["low"] = bound
    assert len(effect_metrics(data)) == 2


@pytest.mark.parametrize("odd", [None, {}, {"effects": None}, {"effects": ["x"]}])
def test_results_without_effects_have_no_metrics(odd):
    assert effect_metrics(odd) == {}


def test_parameters_are_flattened_to_dotted_texts():
    params = {"method": {"lora": {"rank": 16}}, "limit": None, "items": [], "seed": 0, "full": False, "name": "é"}
    assert flatten(params) == {"method.lora.rank": "16", "seed": "0", "full": "false", "name": "é"}


@given(st.text(max_size=400), st.text(max_size=400))
def test_any_name_becomes_one_that_mlflow_accepts_and_no_two_become_one(one, other):
    fit, fit_other = fitting(f"effect.{one}"), fitting(f"effect.{other}")
    assert re.fullmatch(MLFLOW_NAME, fit)
    assert len(fit) <= MAX_KEY
    assert fitting(fit) == fit
    assert (fit == fit_other) == (one == other)
