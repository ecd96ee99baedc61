"""`msm preview` of runs that only a cluster can run; the hub is a mirror that holds nothing but commits and sizes."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from msm.cli.main import app
from msm.resolve import shelf
from msm.resolve.addresses import Hf
from msm.store import StoreConfig, open_store
from tests.manifests import MANIFESTS
from tests.models import CONFIGS

WEIGHTS = {
    Hf("Qwen/Qwen3-8B-Base", "49e3418fbbbca6ecbdf9608b4d22e5a407081db4"): "Qwen3-8B-Base",
    Hf("Qwen/Qwen2.5-32B-Instruct", "5ede1c97bbab6ce5cda5812749b4c0bdf79b18dd"): "Qwen2.5-32B-Instruct",
    Hf("Qwen/Qwen3-32B", "9216db5781bf21249d130ec9da846c4624c16137"): "Qwen3-32B",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = open_store(StoreConfig(f"file://{tmp_path}/mirror"))
    for address, name in WEIGHTS.items():
        mirror.put(shelf.ref_key(address), str(address.revision).encode())
        mirror.put(shelf.file_key(address, "config.json"), json.dumps(CONFIGS[name]).encode())
    monkeypatch.setenv("MSM_MIRROR", mirror.uri)
    monkeypatch.setenv("MSM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MSM_STORE_URI", raising=False)


def previewed(name: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["preview", str(MANIFESTS / f"{name}.yaml"), "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.usefixtures("hub")
def test_the_8b_run_is_counted_with_its_gpus_and_those_of_its_writer() -> None:
    found = previewed("msm-run")
    trained = [stage for stage in found["stages"] if stage["gpus"]]
    assert len(trained) == 4 * (3 + 7)
    assert all(stage["gpus"] == 1 and stage["seconds"] for stage in trained)
    assert found["precision"] == "bfloat16"
    training = sum(stage["gpus"] * stage["seconds"] for stage in trained) / 3600
    assert found["totals"]["gpuHours"] > training > 10


@pytest.mark.usefixtures("hub")
def test_the_32b_run_says_what_memory_a_gpu_and_a_machine_need() -> None:
    found = previewed("philosophy")
    midtrain = next(stage for stage in found["stages"] if stage["kind"] == "midtrain")
    assert midtrain["gpus"] == 4
    assert 80 < midtrain["gpuMemory"] / 2**30 < 130
    assert midtrain["hostMemory"] / 2**30 > 4 * 120


@pytest.mark.usefixtures("hub")
def test_people_read_it_in_a_few_lines() -> None:
    done = CliRunner().invoke(app, ["preview", str(MANIFESTS / "philosophy.yaml")])
    assert done.exit_code == 0, done.output
    assert "midtrain: 4 GPUs with " in done.stdout
    assert "GiB of the machine's memory" in done.stdout
    assert "GPU-hours" in done.stdout
    assert "100 TFLOP/s a GPU" in done.stdout
