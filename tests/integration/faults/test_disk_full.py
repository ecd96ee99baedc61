"""A disk that fills up: one clear line, nothing half-committed, and the same command goes on when there is room."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from msm.local.accept import accept
from msm.store.artifacts import read_manifest
from tests.integration.faults.conftest import ONLY_FETCH, Type

pytestmark = pytest.mark.long


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def resize(disk: Path, kibibytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kibibytes}k", str(disk)], check=True)


def test_a_full_disk_is_one_line_with_a_path_and_the_run_goes_on_when_there_is_room(
    write: Callable[..., Path], msm: Type, small_disk: Path, model: Path
) -> None:
    path, home = write(**ONLY_FETCH), small_disk / "home"
    weights = (model / "model.safetensors").stat().st_size // 1024
    for size in (64, weights // 2 + 100, weights + weights // 2):
        resize(small_disk, size)
        code, said = msm("run", path, home=home).end()
        assert code == 2, said
        (line,) = (line for line in said.splitlines() if line.startswith("error: "))
        assert str(home) in line
        assert "No space left on device" in line
        assert "free space" in line
        assert "Traceback" not in said
        run = accept(path, {"MSM_HOME": str(home)}, path.parent) if size > 64 else None
        assert run is None or read_manifest(run.store, "fetch", run.plan.stages[0].fingerprint) is None
    resize(small_disk, 64 * 1024)
    code, said = msm("run", path, home=home).end()
    assert code == 0, said


SMALL_FILES = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, -1)); from msm.cli.main import main; main()"


def test_a_limit_on_the_size_of_files_is_told_in_the_same_way(write: Callable[..., Path], tmp_path: Path) -> None:
    import os
    import sys

    path, home = write(**ONLY_FETCH), tmp_path / "home"
    done = subprocess.run(
        [sys.executable, "-c", SMALL_FILES, "run", str(path)],
        env={**os.environ, "MSM_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "File too large" in line
    assert str(home) in line
