"""SIGTERM to a training stage's own process, as a cluster evicts a pod: a checkpoint, exit code 143, and the next attempt goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from msm.plan import Stage
from msm.stages import contract
from msm.store.artifacts import read_manifest
from msm.store.checkpoints import newest_checkpoints
from tests.chaos.kills import processes_of
from tests.chaos.warm import World
from tests.integration.faults.conftest import ONE_TRAINING

pytestmark = pytest.mark.long


def start(environ: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "msm.stages"], env={**os.environ, **environ}, stderr=subprocess.PIPE)


def environment(world: World, stage: Stage, scratch: Path) -> dict[str, str]:
    scratch.mkdir()
    return {
        contract.STAGE: contract.encode_stage(stage),
        "MSM_STORE_URI": world.store().uri,
        contract.SCRATCH: str(scratch),
        contract.TERMINATION_LOG: str(scratch / "termination.json"),
        "OMP_NUM_THREADS": "1",
    }


def test_a_training_that_gets_sigterm_checkpoints_and_the_next_attempt_goes_on(write: Callable[..., Path], tmp_path: Path) -> None:
    whole, broken = (World(write(**ONE_TRAINING), tmp_path / name, real_training=True) for name in ("whole", "broken"))
    assert whole.call().succeeded
    run = broken.accepted()
    (stage,) = (s for s in run.plan.stages if s.kind == "midtrain")
    for earlier in run.plan.stages[: run.plan.stages.index(stage)]:
        assert subprocess_of(broken, earlier, tmp_path / earlier.kind) == 0
    first = start(environment(broken, stage, tmp_path / "first"))
    until = time.monotonic() + 120
    while not newest_checkpoints(run.store, stage.kind, stage.fingerprint):
        assert time.monotonic() < until
        assert first.poll() is None
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    _, errors = first.communicate(timeout=90)
    last = contract.read_termination(tmp_path / "first" / "termination.json")
    assert (first.returncode, last and last.reason) == (143, "Preempted"), errors.decode()
    assert not processes_of(tmp_path / "first")
    reached = newest_checkpoints(run.store, stage.kind, stage.fingerprint)[0].step
    assert last is not None
    assert f"stopped at step {reached};" in last.message
    second = start(environment(broken, stage, tmp_path / "second"))
    _, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors.decode()
    assert f"continuing from step {reached} of attempt".encode() in errors
    ours, theirs = (read_manifest(world.store(), stage.kind, stage.fingerprint) for world in (broken, whole))
    assert ours is not None
    assert theirs is not None
    assert ours.content_digest == theirs.content_digest, "two processes and one interruption later: the same bytes"


def subprocess_of(world: World, stage: Stage, scratch: Path) -> int:
    process = start(environment(world, stage, scratch))
    process.communicate(timeout=60)
    return process.returncode
