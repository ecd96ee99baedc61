"""MLflow as a server: reached, down, hanging, refusing."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from msm.errors import TryAgain, UserError
from msm.store import StoreConfig, open_store
from msm.tracking import Snapshot, TrackingConfig, tracking_config
from msm.tracking.client import open_client
from msm.tracking.desired import Tag
from msm.tracking.models import list_models
from msm.tracking.projector import Projector, sync
from tests.mlflow_server import MLflowServer, new_server
from tests.tracked import STEPS, TickingClock, committed_snapshot, results, run_data

pytestmark = pytest.mark.slow
EARLY = ("fetch", "outline", "write", "curate", "demonstrate", "midtrain")


@pytest.fixture
def store(tmp_path: Path):
    return open_store(StoreConfig(uri=(tmp_path / "store").as_uri()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MLflowServer]:
    found = new_server(tmp_path)
    yield found
    found.stop()


@contextmanager
def hanging(server: MLflowServer) -> Iterator[None]:
    """The server takes connections and answers nothing."""
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(server.process.pid, signal.SIGCONT)


def projected(snapshot: Snapshot, store, config: TrackingConfig, timeout: float) -> tuple[str, float]:
    """What the thread has to say after `stop`, and how long that took."""
    projector = Projector(lambda: snapshot, store, config, TickingClock(), interval=0.01)
    projector.start()
    started = time.monotonic()
    line = projector.stop(timeout).line()
    return line, time.monotonic() - started


def test_outages_cost_nothing_and_a_later_sync_completes(server, store, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    early = committed_snapshot(store, run_data(tracking={"uri": server.uri}), only=EARLY)
    config = tracking_config(early.run, tmp_path, {})

    line, _ = projected(early, store, config, 60)
    assert "not reachable since" in line
    assert "Connection refused" in line

    server.start()
    assert projected(early, store, config, 60)[0] == ""
    whole = replace(committed_snapshot(store, run_data(tracking={"uri": server.uri})), results=results())
    with hanging(server):
        line, seconds = projected(whole, store, config, 30)
        assert "no answer in time" in line
        assert seconds < 10
        line, seconds = projected(whole, store, config, 0.5)
        assert "`msm track sync` catches up" in line
        assert seconds < 2
        with pytest.raises(TryAgain, match="no answer in time"):
            sync(whole, store, config, TickingClock())

    first = sync(whole, store, config, TickingClock())
    second = sync(whole, store, config, TickingClock())
    assert (first.runs, first.versions, first.new_versions) == (1 + len(whole.plan.stages), 3, 2)
    assert (second.new_runs, second.new_points, second.new_versions) == (0, 0, 0)
    check_shown(whole, config, first.notes)
    assert capfd.readouterr() == ("", "")


def check_shown(snapshot: Snapshot, config: TrackingConfig, notes: tuple[str, ...]) -> None:
    client = open_client(config, os.environ)
    experiment = client.get_experiment_by_name(config.experiment)
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 1 + len(snapshot.plan.stages)
    (parent,) = [r for r in runs if r.data.tags[Tag.KIND] == "run"]
    assert [a.path for a in client.list_artifacts(parent.info.run_id)] == ["results.json"]
    trained = [r for r in runs if r.data.tags[Tag.KIND] in ("midtrain", "finetune")]
    assert {len(client.get_metric_history(r.info.run_id, "loss")) for r in trained} == {STEPS}
    assert all(r.inputs.dataset_inputs for r in trained)
    rows = list_models(client, "cheese")
    assert [row.parent for row in rows].count(rows[0].version) == 1
    assert all(row.source.startswith("msm-file://") for row in rows)
    assert any("use an s3:// store" in note for note in notes)


MOMENTS = {"MLflow is still being imported": False, "the server has been asked and hangs": True}


@pytest.mark.parametrize("asked_first", MOMENTS.values(), ids=MOMENTS)
def test_a_process_ends_on_time_while(asked_first, store, tmp_path):
    """A socket that accepts and never answers; the whole process must not wait for it, nor for MLflow's own threads."""
    committed_snapshot(store, run_data())
    asked = tmp_path / "asked"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        script = tmp_path / "run.py"
        script.write_text(SCRIPT.replace("STORE", store.uri).replace("PORT", str(silent.getsockname()[1])))
        environ = {**os.environ, "PYTHONPATH": str(Path.cwd()), "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
        command = [sys.executable, str(script), str(asked)]
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            if asked_first:
                silent.settimeout(60)
                _connection, _ = silent.accept()
            asked.touch()
            out, err = process.communicate(timeout=40)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, "")
    assert "`msm track sync` catches up" in out
    assert float(out.split()[0]) < 5


SCRIPT = """
import sys, time
from dataclasses import replace
from pathlib import Path
from msm.clock import SystemClock
from msm.store import StoreConfig, open_store
from msm.tracking import TrackingConfig
from msm.tracking.projector import Projector
from tests.tracked import committed_snapshot, results, run_data
store = open_store(StoreConfig(uri="STORE"))
snapshot = replace(committed_snapshot(store, run_data()), results=results())
projector = Projector(lambda: snapshot, store, TrackingConfig("http://127.0.0.1:PORT", "e"), SystemClock(), 0.01)
projector.start()
while not Path(sys.argv[1]).exists():
    time.sleep(0.05)
started = time.monotonic()
state = projector.stop(0.5)
print(time.monotonic() - started, state.line())
"""


class Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def test_refused_credentials_are_the_users_mistake_and_never_repeated(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = TrackingConfig(f"http://127.0.0.1:{server.server_port}", "e")
    with pytest.raises(UserError, match="refuses the credentials; set MLFLOW_TRACKING_USERNAME") as caught:
        sync(committed_snapshot(store, run_data(), only=("fetch",)), store, config, TickingClock())
    assert "hunter2" not in str(caught.value)
    server.shutdown()
    server.server_close()


def test_a_server_that_refuses_the_name_it_is_called_by_says_which_option_to_give_it(store, server, monkeypatch):
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "elsewhere.example")
    server.start()
    with pytest.raises(UserError, match=f"its Host header.*; start it with --allowed-hosts 127.0.0.1:{server.port}"):
        sync(committed_snapshot(store, run_data(), only=("fetch",)), store, TrackingConfig(server.uri, "e"), TickingClock())
