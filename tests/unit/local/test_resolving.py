"""The program that resolves a run's inputs in a pod: by the store alone, ended as a stage is."""

import json
from pathlib import Path

import pytest

from msm.api import parse_run
from msm.local.resolving import RUN_ID, AskedRun, answer, ask, main
from msm.store import StoreConfig, open_store
from tests.finished import items, lines, run_data


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "MSM_STORE_URI": f"file://{tmp_path}/store",
        "MSM_CACHE": str(tmp_path / "cache"),
        "MSM_TERMINATION_LOG": str(tmp_path / "last"),
        RUN_ID: "cheese-1",
    }


def asked(environ: dict[str, str], tmp_path: Path, weights: bool = True) -> None:
    model = tmp_path / "model"
    model.mkdir()
    if weights:
        (model / "model.safetensors").write_bytes(b"weights")
    data = run_data(seeds=[0])
    data["spec"]["baseModel"]["uri"] = f"file://{model}"
    data["spec"]["evals"][0]["items"]["source"] = {"inline": lines(items()).decode()}
    ask(open_store(StoreConfig.from_environ(environ)), "cheese-1", AskedRun(run=parse_run(data), precision="float32"))


def last_words(environ: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = json.loads(Path(environ["MSM_TERMINATION_LOG"]).read_text())
    return found


def test_what_was_asked_is_resolved_once_and_read_back(environ: dict[str, str], tmp_path: Path) -> None:
    asked(environ, tmp_path)
    store = open_store(StoreConfig.from_environ(environ))
    assert answer(store, "cheese-1") is None
    assert main(environ) == 0
    found = answer(store, "cheese-1")
    assert found is not None and found.precision == "float32"
    assert set(found.inputs) == {"baseModel", "modelSpecs.america", "evals.values.items"}
    (tmp_path / "model" / "model.safetensors").write_bytes(b"others")
    assert main(environ) == 0
    assert answer(store, "cheese-1") == found, "whoever was first has resolved the run"


def test_a_mistake_ends_it_as_a_stage_with_the_field_in_its_last_words(environ: dict[str, str], tmp_path: Path) -> None:
    asked(environ, tmp_path, weights=False)
    assert main(environ) == 2
    assert last_words(environ)["message"].startswith("spec.baseModel.uri: ")
    assert answer(open_store(StoreConfig.from_environ(environ)), "cheese-1") is None


def test_started_by_hand_it_says_who_starts_it(environ: dict[str, str]) -> None:
    del environ[RUN_ID]
    assert main(environ) == 2
    assert "started by the operator" in last_words(environ)["message"]
