"""Services that stop while a run goes on: S3 and MLflow."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from msm.local.accept import accept
from msm.store.artifacts import read_manifest
from msm.store.checkpoints import newest_checkpoints
from tests.chaos.away import killed_and_started_again
from tests.integration.faults.conftest import ONE_TRAINING, ONLY_FETCH, Type
from tests.mlflow_server import new_server
from tests.s3 import running_s3

pytestmark = pytest.mark.long
AWAY_SECONDS = 15.0


def test_a_run_waits_for_an_s3_server_that_is_killed_and_started_again(write: Callable[..., Path], msm: Type, tmp_path: Path) -> None:
    data = tmp_path / "s3"
    with running_s3(data) as server:
        server.make_bucket("runs")
        environ = server.config("runs", "here").to_environ()
        path = write(**ONE_TRAINING)
        command = msm("run", path, environ=environ)
        run = accept(path, {**os.environ, "MSM_HOME": str(tmp_path / "home"), **environ}, path.parent)
        (stage,) = (s for s in run.plan.stages if s.kind == "midtrain")
        until = time.monotonic() + 180
        while not newest_checkpoints(run.store, stage.kind, stage.fingerprint):
            assert time.monotonic() < until
            assert command.process.poll() is None, command.end()
            time.sleep(0.2)
        with killed_and_started_again(data, AWAY_SECONDS):
            code, said = command.end()
            assert code == 0, said
            assert "waiting for it" in said, "the user is told why nothing moves"
            assert read_manifest(run.store, stage.kind, stage.fingerprint) is not None


def test_an_s3_server_that_is_away_when_the_run_starts_is_one_sentence_and_code_75(
    write: Callable[..., Path], msm: Type, tmp_path: Path
) -> None:
    environ = {
        "MSM_STORE_URI": "s3://runs/here",
        "MSM_STORE_ENDPOINT": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    code, said = msm("run", write(**ONLY_FETCH), environ=environ).end()
    assert code == 75, said
    (line,) = (line for line in said.splitlines() if line.startswith("error: "))
    assert "http://127.0.0.1:9 does not answer" in line


def test_an_mlflow_that_is_away_costs_nothing_and_track_sync_repairs_it(write: Callable[..., Path], msm: Type, tmp_path: Path) -> None:
    server = new_server(tmp_path)
    path = write(**ONLY_FETCH, tracking={"uri": server.uri})
    code, said = msm("run", path).end()
    assert code == 0, said
    assert "MLflow: not reachable since" in said
    assert "`msm track sync` catches up" in said
    try:
        server.start()
        code, said = msm("track", "sync", path).end()
        assert (code, "MLflow shows 2 runs (2 new)" in said) == (0, True), said
    finally:
        server.stop()


def test_a_second_ctrl_c_does_not_wait_for_an_mlflow_that_hangs(write: Callable[..., Path], msm: Type) -> None:
    with HangingServer() as address:
        command = msm("run", write(**ONE_TRAINING, tracking={"uri": address}))
        assert command.process.stdout is not None
        for line in command.process.stdout:
            if "fetch base model: done" in line:
                break
        command.process.send_signal(signal.SIGINT)
        time.sleep(1.0)
        pressed = time.monotonic()
        command.process.send_signal(signal.SIGINT)
        code = command.process.wait(60)
        assert code in (130, 0), code
        assert time.monotonic() - pressed < 10


class HangingServer:
    """A fault injector: accepts connections and never says a word."""

    def __enter__(self) -> str:
        import socket

        self.socket = socket.create_server(("127.0.0.1", 0))
        self.kept: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                self.kept.append(self.socket.accept()[0])
            except OSError:
                return

    def __exit__(self, *error: object) -> None:
        self.socket.close()
