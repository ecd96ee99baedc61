import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from msm.store import StoreConfig, open_store
from msm.tracking import LiveStage, Snapshot, TrackingConfig
from msm.tracking.marker import is_current, marker_key, projected_marker, write_marker
from msm.tracking.projector import Projector, TrackingState
from msm.tracking.snapshot import digest
from tests.tracked import UID, TickingClock, committed_snapshot, planned, results, run_data


@pytest.fixture
def store(tmp_path: Path):
    return open_store(StoreConfig(uri=(tmp_path / "store").as_uri()))


@pytest.fixture
def config(tmp_path: Path) -> TrackingConfig:
    database = tmp_path / "mlflow.db"
    database.touch()
    return TrackingConfig(f"sqlite:///{database}", "example", tmp_path / "mlartifacts")


@pytest.fixture
def finished(store) -> Snapshot:
    return replace(committed_snapshot(store, run_data()), results=results())


def test_a_run_that_was_never_projected_has_no_marker(store, config):
    assert projected_marker(store, UID) is None
    assert not is_current(store, UID, "d", config)


def test_a_marker_counts_for_its_digest_and_its_mlflow(store, config):
    write_marker(store, UID, "d", config)
    assert is_current(store, UID, "d", config)
    assert not is_current(store, UID, "e", config)
    assert not is_current(store, UID, "d", TrackingConfig("http://elsewhere", "example"))
    assert not is_current(store, "other", "d", config)


def test_a_removed_sqlite_file_makes_the_marker_void(store, config):
    write_marker(store, UID, "d", config)
    config.database.unlink()
    assert not is_current(store, UID, "d", config)


def test_a_damaged_marker_counts_as_none(store, config):
    store.put(marker_key(UID), b'{"digest": ')
    assert projected_marker(store, UID) is None


SAME = {
    "times and re-use of stages change nothing": lambda s: replace(s, results={**s.results, "stages": []}),
    "a stage found finished changes nothing": lambda s: replace(s, reused=frozenset({s.plan.stages[0].fingerprint})),
    "the executor's word changes nothing when all is committed": lambda s: replace(s, phase="Succeeded"),
    "rows of a stage that is committed meanwhile change nothing": lambda s: replace(
        s, live={s.plan.stages[0].fingerprint: LiveStage("A", ({"step": 1},))}
    ),
}
OTHER = {
    "other results are a change": lambda s: replace(s, results={**s.results, "effects": []}),
    "no results yet are a change": lambda s: replace(s, results=None),
    "another run is a change": lambda s: replace(s, uid="other"),
    "a missing artifact is a change": lambda s: replace(s, committed=dict(list(s.committed.items())[1:])),
    "another registry is a change": lambda s: replace(s, run=planned(run_data(registry={"model": "brie"}))[0]),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_a_projection_would_not_show_does_not_change_the_digest(finished, config, change):
    assert digest(change(finished), config) == digest(finished, config)


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_what_a_projection_would_show_changes_the_digest(finished, config, change):
    assert digest(change(finished), config) != digest(finished, config)


def test_new_rows_of_a_live_stage_are_a_change(config):
    run, plan = planned(run_data())
    fingerprint = plan.stages[0].fingerprint
    before, after = (
        Snapshot(run, UID, plan, {}, {fingerprint: LiveStage("A", rows)}) for rows in (({"step": 1},), ({"step": 1}, {"step": 2}))
    )
    assert digest(before, config) != digest(after, config)


def test_a_rerun_that_changed_nothing_does_not_import_mlflow(tmp_path, store, config, finished):
    write_marker(store, UID, digest(finished, config), config)
    script = tmp_path / "rerun.py"
    script.write_text(f"""
import sys
from dataclasses import replace
from pathlib import Path
from msm.clock import SystemClock
from msm.store import StoreConfig, open_store
from msm.tracking import TrackingConfig
from msm.tracking.projector import Projector
from tests.tracked import committed_snapshot, results, run_data
store = open_store(StoreConfig(uri={store.uri!r}))
snapshot = replace(committed_snapshot(store, run_data()), results=results())
config = TrackingConfig({config.uri!r}, "example", Path({str(config.artifacts)!r}))
seen = iter([replace(snapshot, results=None)])
projector = Projector(lambda: next(seen, snapshot), store, config, SystemClock(), interval=0.05)
projector.start()
SystemClock().sleep(0.3)
state = projector.stop(30)
assert state.line() == "", state
assert "mlflow" not in sys.modules
""")
    done = subprocess.run([sys.executable, str(script)], env={"PYTHONPATH": str(Path.cwd())}, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_broken_source_never_reaches_the_run(store, config):
    def broken() -> Snapshot:
        raise RuntimeError("first line\nsecond line")

    projector = Projector(broken, store, config, TickingClock(), interval=0.01)
    projector.start()
    state = projector.stop(10)
    assert state.failing_since is not None
    assert state.line().startswith("MLflow: not updated since 12:00:0")
    assert "first line" in state.line()
    assert "second" not in state.line()


def test_stopping_waits_no_longer_than_it_was_told(store, config):
    release = threading.Event()

    def slow() -> Snapshot:
        release.wait(30)
        raise RuntimeError

    projector = Projector(slow, store, config, TickingClock(), interval=0.01)
    projector.start()
    started = time.monotonic()
    state = projector.stop(0.2)
    assert time.monotonic() - started < 5
    assert state.behind
    assert "msm track sync" in state.line()
    release.set()


def test_all_well_is_worth_no_line():
    assert TrackingState().line() == ""
