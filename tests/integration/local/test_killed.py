import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from msm.local.accept import Accepted, accept
from msm.store.artifacts import Manifest, read_manifest
from msm.store.checkpoints import newest_checkpoints

pytestmark = pytest.mark.long

RECIPE = {"maxLength": 64, "batchTokens": 64, "learningRate": 1e-3, "epochs": 12, "checkpointEvery": 1}
ONE_TRAINING = {
    "demonstrations": [],
    "evals": [],
    "corpora": [{"name": "home", "modelSpec": "home", "tokens": 2500, "compose": {}}],
    "training": {"method": "lora", "lora": {"rank": 4, "alpha": 8}, "midtrain": RECIPE, "precision": "float32"},
    "arms": [{"name": "msm-home", "midtrain": ["home"]}],
}


def msm_run(path: Path, home: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "msm.cli", "run", str(path)]
    return subprocess.Popen(command, env={**os.environ, "MSM_HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: "subprocess.Popen[bytes]") -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output.decode()
    return output.decode()


def accepted(path: Path, home: Path) -> Accepted:
    return accept(path, {**os.environ, "MSM_HOME": str(home)}, path.parent)


def trained(run: Accepted) -> Manifest:
    stage = next(s for s in run.plan.stages if s.kind == "midtrain")
    manifest = read_manifest(run.store, stage.kind, stage.fingerprint)
    assert manifest is not None
    return manifest


def processes_of(home: Path) -> list[str]:
    """Commands of processes whose environment points into a run's home."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and str(home).encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.2)


def test_a_run_that_was_killed_leaves_no_process_and_ends_with_the_same_weights(write_run: Callable[..., Path], tmp_path: Path) -> None:
    path = write_run(**ONE_TRAINING)
    finish(msm_run(path, tmp_path / "whole"))
    broken = tmp_path / "broken"
    first = msm_run(path, broken)
    run = accepted(path, broken)
    stage = next(s for s in run.plan.stages if s.kind == "midtrain")
    wait_until(lambda: bool(newest_checkpoints(run.store, stage.kind, stage.fingerprint)), 120, "a checkpoint")
    first.send_signal(signal.SIGKILL)
    first.wait()
    wait_until(lambda: not processes_of(broken), 90, "every process of the killed run is gone")
    assert read_manifest(run.store, stage.kind, stage.fingerprint) is None, "it was killed in the middle"
    reached = newest_checkpoints(run.store, stage.kind, stage.fingerprint)[0].step
    assert reached > 0
    finish(msm_run(path, broken))
    whole, resumed = trained(accepted(path, tmp_path / "whole")), trained(accepted(path, broken))
    assert resumed.content_digest == whole.content_digest, "weights, losses and all"
    assert not processes_of(broken)
