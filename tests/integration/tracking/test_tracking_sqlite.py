"""MLflow in a sqlite file, really: one file is built once and copied for each test."""

import os
import shutil
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from msm.errors import TryAgain, UserError
from msm.store import StoreConfig, open_store
from msm.tracking import LiveStage, TrackingConfig, tracking_config
from msm.tracking.client import Client, open_client
from msm.tracking.database import prepare
from msm.tracking.desired import Tag, fitting
from msm.tracking.marker import projected_marker
from msm.tracking.models import list_models
from msm.tracking.project import project
from msm.tracking.projector import Projector, sync
from msm.tracking.snapshot import Snapshot, digest
from tests.tracked import STEPS, UID, TickingClock, commit, committed_snapshot, planned, results, run_data

EFFECT = "effect.values.america.free.margin.msm-america-aft.vs.aft"
TRAINED = ("midtrain", "finetune")


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory) -> Path:
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    open_client(TrackingConfig(f"sqlite:///{database}", "none", database.parent / "mlartifacts"), os.environ)
    return database


@pytest.fixture
def state(tmp_path: Path, empty_database: Path) -> Path:
    """A state directory with a space and a percent sign in its path."""
    directory = tmp_path / "my 100% state"
    directory.mkdir()
    shutil.copy(empty_database, directory / "mlflow.db")
    return directory


@pytest.fixture
def store(state: Path):
    return open_store(StoreConfig(uri=(state / "store").as_uri()))


@pytest.fixture
def snapshot(store) -> Snapshot:
    return replace(committed_snapshot(store, run_data()), results=results())


@pytest.fixture
def config(state: Path) -> TrackingConfig:
    return tracking_config(planned(run_data())[0], state, {})


@pytest.fixture
def client(config: TrackingConfig) -> Client:
    return open_client(config, os.environ)


def runs_of(client: Client, config: TrackingConfig) -> list:
    experiment = client.get_experiment_by_name(config.experiment)
    return client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])


def content(config: TrackingConfig) -> str:
    """Everything in the database."""
    with sqlite3.connect(config.database) as connection:
        return "\n".join(connection.iterdump())


def steps_of(client: Client, run_id: str, key: str) -> list[int]:
    return [metric.step for metric in client.get_metric_history(run_id, key)]


def test_making_the_first_database_is_silent(request, capfd):
    database = request.getfixturevalue("empty_database")
    assert database.stat().st_size > 0
    assert capfd.readouterr() == ("", "")


def test_a_finished_run_is_shown_whole(client, config, snapshot, store):
    projection = sync(snapshot, store, config, TickingClock())
    runs = runs_of(client, config)
    (parent,) = [r for r in runs if r.data.tags[Tag.KIND] == "run"]
    children = [r for r in runs if r is not parent]
    assert projection.notes == ()
    assert (projection.runs, projection.versions) == (len(runs), 3)
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parent.info.run_id}
    assert {r.data.tags[Tag.FINGERPRINT] for r in children} == {s.fingerprint for s in snapshot.plan.stages}
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert (parent.data.metrics[EFFECT], parent.data.metrics[f"{EFFECT}.low"]) == (2.0, 1.5)
    assert [a.path for a in client.list_artifacts(parent.info.run_id)] == ["results.json"]


def test_trainings_have_their_curves_their_parameters_and_their_data(client, config, snapshot, store):
    sync(snapshot, store, config, TickingClock())
    trained = [r for r in runs_of(client, config) if r.data.tags[Tag.KIND] in TRAINED]
    assert len(trained) == 3
    for run in trained:
        assert steps_of(client, run.info.run_id, "loss") == list(range(1, STEPS + 1))
        assert run.data.params["method.lora.rank"] == "16"
        times = [m.timestamp for m in client.get_metric_history(run.info.run_id, "loss")]
        assert run.info.start_time <= times[0] <= times[-1] <= run.info.end_time
        contexts = {t.value for d in run.inputs.dataset_inputs for t in d.tags}
        assert contexts == {"training"}
        names = {d.dataset.name for d in run.inputs.dataset_inputs}
        assert names == ({"america"} if run.data.tags[Tag.KIND] == "midtrain" else {"cheese", "chat"})


def test_versions_have_lineage_and_the_candidate_can_be_downloaded(client, config, snapshot, store, tmp_path, monkeypatch):
    from mlflow.artifacts import download_artifacts

    sync(snapshot, store, config, TickingClock())
    midtrained, *finetuned = list_models(client, "cheese")
    assert (midtrained.kind, midtrained.parent, midtrained.seed) == ("midtrain", None, 7)
    assert {row.arms: row.parent for row in finetuned} == {("aft",): None, ("msm-america-aft",): midtrained.version}
    (candidate,) = [row for row in finetuned if row.aliases]
    assert (candidate.arms, candidate.aliases) == (("msm-america-aft",), ("candidate",))
    target = tmp_path / "downloaded"
    target.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", config.uri)
    got = download_artifacts(artifact_uri="models:/cheese@candidate", dst_path=str(target))
    stage = next(s for s in snapshot.plan.stages if s.fingerprint == candidate.fingerprint)
    assert (Path(got) / "adapter_model.safetensors").read_text() == stage.name


def test_projecting_twice_changes_nothing(config, snapshot, store):
    sync(snapshot, store, config, TickingClock())
    before = content(config)
    again = sync(snapshot, store, config, TickingClock())
    assert (again.new_runs, again.new_points, again.new_versions) == (0, 0, 0)
    assert content(config) == before


def test_all_of_it_is_rebuilt_from_the_store(state, empty_database, config, snapshot, store):
    def shown(configuration: TrackingConfig) -> object:
        client = open_client(configuration, os.environ)
        found = runs_of(client, configuration)
        return (
            sorted((r.data.tags[Tag.KIND], r.data.tags.get(Tag.FINGERPRINT, ""), sorted(r.data.metrics.items())) for r in found),
            list_models(client, "cheese"),
        )

    sync(snapshot, store, config, TickingClock())
    other = TrackingConfig(f"sqlite:///{state / 'rebuilt.db'}", config.experiment, config.artifacts)
    shutil.copy(empty_database, state / "rebuilt.db")
    sync(Snapshot(snapshot.run, UID, snapshot.plan, {}, results=results()).with_committed_of(store), store, other, TickingClock())
    assert shown(other) == shown(config)


class Breaking:
    """A client that fails at one call: for injecting a fault, nothing else."""

    def __init__(self, client: Client, at: int) -> None:
        self._client, self._left = client, at

    def __getattr__(self, name: str):
        method = getattr(self._client, name)

        def call(*args, **kwargs):
            self._left -= 1
            if self._left == 0:
                raise ConnectionError("gone")
            return method(*args, **kwargs)

        return call


def test_a_projection_that_broke_off_anywhere_is_completed_by_the_next(client, config, snapshot, store):
    clock, at, broken = TickingClock(), 1, 0
    while True:
        try:
            project(Breaking(client, at), snapshot, store, config, clock)
            break
        except ConnectionError:
            broken, at = broken + 1, at * 2
    assert broken >= 3
    runs = runs_of(client, config)
    assert len(runs) == 1 + len(snapshot.plan.stages)
    assert len({r.data.tags.get(Tag.FINGERPRINT) for r in runs}) == len(runs)
    for run in runs:
        if run.data.tags[Tag.KIND] in TRAINED:
            assert steps_of(client, run.info.run_id, "loss") == list(range(1, STEPS + 1))
    assert len(list_models(client, "cheese")) == 3


def test_a_second_run_shares_versions_and_moves_the_alias_once(client, config, snapshot, store):
    sync(snapshot, store, config, TickingClock())
    data = run_data(registry={"model": "cheese", "candidate": "plain"})
    data["spec"]["arms"] = [{"name": "plain", "finetune": ["cheese", "chat"]}]
    second = committed_snapshot(store, data, uid="second")
    second = replace(second, reused=frozenset(second.committed))
    projection = sync(second, store, config, TickingClock())
    rows = list_models(client, "cheese")
    assert (projection.new_versions, len(rows)) == (0, 3)
    assert [row.arms for row in rows if row.aliases == ("candidate",)] == [("aft", "plain")]
    sync(snapshot, store, config, TickingClock())
    assert [row.arms for row in list_models(client, "cheese") if row.aliases] == [("aft", "plain")]
    tags = [r.data.tags for r in runs_of(client, config) if r.data.tags[Tag.RUN] == "second" and r.data.tags[Tag.KIND] != "run"]
    assert {t.get(Tag.REUSED) for t in tags} == {"true"}


def test_a_stage_is_followed_live_stopped_continued_and_committed_without_repeating_a_point(client, config, store):
    run, plan = planned(run_data())
    clock = TickingClock()
    before = [s for s in plan.stages if s.kind not in (*TRAINED, "evaluate")]
    stage = next(s for s in plan.stages if s.kind == "midtrain")
    for early in before:
        commit(store, early, clock)
    marks: dict[str, int] = {}

    def show(attempt: str, steps: range, phase: str = "Running"):
        rows = tuple({"step": i, "loss": 9.0, "totalSteps": STEPS} for i in steps)
        live = {stage.fingerprint: LiveStage(attempt, rows)}
        now = Snapshot(run, UID, plan, {}, live, phase=phase).with_committed_of(store)
        project(client, now, store, config, clock, marks)
        return next(r for r in runs_of(client, config) if r.data.tags.get(Tag.FINGERPRINT) == stage.fingerprint)

    shown = show("A", range(1, 6))
    assert (shown.info.status, steps_of(client, shown.info.run_id, "loss")) == ("RUNNING", [1, 2, 3, 4, 5])
    assert show("A", range(1, 8), "Suspended").info.status == "KILLED"
    marks.clear()
    shown = show("B", range(5, 11))
    assert (shown.info.status, shown.data.tags[Tag.ATTEMPT]) == ("RUNNING", "B")
    assert steps_of(client, shown.info.run_id, "loss") == list(range(1, 11))
    commit(store, stage, clock)
    shown = show("B", range(5, 11))
    assert shown.info.status == "FINISHED"
    assert steps_of(client, shown.info.run_id, "loss") == list(range(1, STEPS + 1))


def test_a_failed_run_leaves_no_stage_running(client, config, store):
    run, plan = planned(run_data())
    live = {plan.stages[0].fingerprint: LiveStage("A")}
    project(client, Snapshot(run, UID, plan, {}, live), store, config, TickingClock())
    project(client, Snapshot(run, UID, plan, {}, phase="Failed"), store, config, TickingClock())
    assert {r.info.status for r in runs_of(client, config)} == {"FAILED"}


def test_long_curves_are_written_in_pieces(client, config, store):
    run, plan = planned(run_data())
    stage = next(s for s in plan.stages if s.kind == "midtrain")
    commit(store, stage, TickingClock(), steps=1234)
    projection = project(client, Snapshot(run, UID, plan, {}).with_committed_of(store), store, config, TickingClock())
    assert projection.new_points == 2 * 1234


def test_damaged_curves_are_a_note_and_everything_else_is_there(client, config, snapshot, store):
    stage = next(s for s in snapshot.plan.stages if s.kind == "midtrain")
    store.put(snapshot.committed[stage.fingerprint].key("metrics.jsonl"), b'{"step": 1, "loss": 0.0}\n')
    projection = sync(snapshot, store, config, TickingClock())
    (note,) = projection.notes
    assert note.startswith(f"{stage.name}: no curves: ")
    assert (projection.runs, projection.versions) == (1 + len(snapshot.plan.stages), 3)


def test_the_thread_projects_while_the_run_goes_on_and_leaves_a_marker_at_its_end(config, snapshot, store):
    seen = threading.Event()
    waiting = Snapshot(snapshot.run, UID, snapshot.plan, {})

    def source() -> Snapshot:
        return snapshot if seen.is_set() else waiting

    projector = Projector(source, store, config, TickingClock(), interval=0.05)
    projector.start()
    while projector.state().projected is None and not projector.state().error:
        threading.Event().wait(0.05)
    assert projected_marker(store, UID) is None
    seen.set()
    state = projector.stop(30)
    assert (state.line(), state.notes) == ("", ())
    marker = projected_marker(store, UID)
    assert marker is not None
    assert marker.digest == digest(snapshot, config)


def test_a_deleted_experiment_is_the_users_to_restore(client, config, snapshot, store):
    client.delete_experiment(client.create_experiment(config.experiment))
    with pytest.raises(UserError, match="was deleted in MLflow; restore it"):
        sync(snapshot, store, config, TickingClock())


def test_a_model_nobody_registered_is_named(client):
    with pytest.raises(UserError, match='no registered model named "brie"'):
        list_models(client, "brie")


@pytest.mark.parametrize("name", ["effect.a,b.c", "effect." + "x" * 400, "effect./../é", "effect.\n"])
def test_names_are_what_mlflow_accepts(name):
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(fitting(name))


def test_a_database_whose_making_was_killed_is_made_anew(tmp_path):
    database, building = tmp_path / "mlflow.db", []
    (tmp_path / ".mlflow.db.new").write_bytes(b"half")

    def build(uri: str) -> None:
        building.append(uri)
        assert not (tmp_path / ".mlflow.db.new").exists()
        sqlite3.connect(uri.removeprefix("sqlite:///")).execute("CREATE TABLE t (x)")

    prepare(database, build)
    prepare(database, build)
    assert len(building) == 1
    assert sqlite3.connect(database).execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]


def test_a_database_that_cannot_be_made_leaves_nothing_under_its_name(tmp_path):
    def build(uri: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "mlflow.db", build)
    assert not (tmp_path / "mlflow.db").exists()


def test_a_file_that_is_no_database_is_refused_at_once(tmp_path, snapshot, store):
    (tmp_path / "mlflow.db").write_text("notes about cheese, not a database " * 100)
    config = TrackingConfig(f"sqlite:///{tmp_path / 'mlflow.db'}", "example", tmp_path)
    with pytest.raises(UserError, match="is not a database this process can write"):
        sync(snapshot, store, config, TickingClock())


def test_a_directory_that_cannot_be_made_is_refused_at_once(tmp_path, snapshot, store):
    (tmp_path / "file").touch()
    config = TrackingConfig(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}", "example", tmp_path)
    with pytest.raises(UserError, match="cannot be written"):
        sync(snapshot, store, config, TickingClock())


def test_a_locked_database_is_tried_again(config, monkeypatch):
    monkeypatch.setattr("msm.tracking.database._BUSY_SECONDS", 0.1)
    other = sqlite3.connect(config.database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TryAgain, match="busy"):
        prepare(config.database, lambda uri: None)
    other.close()
