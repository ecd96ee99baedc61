"""Real `msm run` processes on the tiny model, in homes of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import tiny_run

ONE_TRAINING: dict[str, Any] = {
    "demonstrations": [],
    "evals": [],
    "corpora": [{"name": "home", "modelSpec": "home", "tokens": 2500, "compose": {}}],
    "training": {
        "method": "lora",
        "lora": {"rank": 4, "alpha": 8},
        "midtrain": {"maxLength": 64, "batchTokens": 64, "learningRate": 1e-3, "epochs": 24, "checkpointEvery": 1},
        "precision": "float32",
    },
    "arms": [{"name": "msm-home", "midtrain": ["home"]}],
}
ONLY_FETCH: dict[str, Any] = {"demonstrations": [], "evals": [], "corpora": [], "modelSpecs": [], "arms": [{"name": "base"}]}


@dataclass(slots=True)
class Command:
    """A command that was typed."""

    process: "subprocess.Popen[str]"

    def end(self, seconds: float = 300) -> tuple[int, str]:
        """Its exit code and all that it said."""
        said, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, said


Type = Callable[..., Command]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run.make_model(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def write(tmp_path: Path, model: Path) -> Callable[..., Path]:
    return lambda **changes: tiny_run.write_run(tmp_path / "in", model, **changes)


@pytest.fixture
def msm(tmp_path: Path) -> Iterator[Type]:
    """A function that types `msm WORDS` in a home; what still runs at the end of the test is killed."""
    typed: list[Command] = []

    def type_it(*words: str | Path, home: Path = tmp_path / "home", environ: Mapping[str, str] | None = None) -> Command:
        environment = {**os.environ, "MSM_HOME": str(home), "OMP_NUM_THREADS": "1", **(environ or {})}
        command = [sys.executable, "-m", "msm.cli", *map(str, words)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        typed.append(Command(process))
        return typed[-1]

    yield type_it
    for command in typed:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()
