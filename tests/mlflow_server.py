"""A real MLflow tracking server for tests: `mlflow server` on a free port, in a process group of its own, under a directory the test gives.

Cost: the first start imports MLflow twice and builds a database, some 20 s of CPU; later starts half of that.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

_READY_WITHIN = 180.0


@dataclass(slots=True)
class MLflowServer:
    """A server that can be started and stopped, always at the same address and with the same data."""

    root: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it answers."""
        database, artifacts = self.root / "server.db", self.root / "artifacts"
        program = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        options = ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", artifacts.as_uri(), "--serve-artifacts"]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.root / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*program, *options], env={**os.environ, **quiet}, stdout=log, stderr=log, start_new_session=True, cwd=self.root
            )
        self._wait()

    def _wait(self) -> None:
        assert self.process is not None
        until = time.monotonic() + _READY_WITHIN
        while time.monotonic() < until and self.process.poll() is None:
            if self._answers():
                return
            time.sleep(0.2)
        log = (self.root / "server.log").read_text()
        self.stop()
        raise TimeoutError(f"mlflow server did not answer:\n{log[-2000:]}")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """Kill the whole group: uvicorn's workers outlive their parent otherwise."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def new_server(root: Path) -> MLflowServer:
    """A server that is not started yet, on a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return MLflowServer(root, probe.getsockname()[1])
