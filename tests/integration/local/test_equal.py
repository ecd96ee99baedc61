"""Equal work leaves equal bytes: the whole chain twice, at different times and places, compared digest by digest."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from msm.local.accept import Accepted, accept
from msm.store.artifacts import Manifest, read_manifest
from tests.integration.local.test_chain import run_file

pytestmark = pytest.mark.slow


def manifests(run: Accepted) -> dict[str, Manifest]:
    found = {stage.name: read_manifest(run.store, stage.kind, stage.fingerprint) for stage in run.plan.stages}
    assert None not in found.values(), found
    return found  # type: ignore[return-value]


def moved(path: Path, to: Path) -> Path:
    """The run file, its items and its model in another directory."""
    shutil.copytree(path.parent / "model", to / "somewhere" / "else")
    shutil.copy(path.parent / "items.jsonl", to)
    data = yaml.safe_load(path.read_text())
    data["spec"]["baseModel"]["uri"] = (to / "somewhere" / "else").as_uri()
    (to / "run.yaml").write_text(yaml.safe_dump(data))
    return to / "run.yaml"


def test_the_whole_chain_made_twice_has_equal_content_digests(write_run: Callable[..., Path], tmp_path: Path) -> None:
    first = write_run()
    second = moved(first, tmp_path / "a longer path" / "with spaces")
    found = []
    for path in (first, second):
        assert run_file(path).message == ""
        found.append(manifests(accept(path, os.environ, path.parent)))
    one, two = found
    assert {name: m.fingerprint for name, m in one.items()} == {name: m.fingerprint for name, m in two.items()}
    assert {name: m.files for name, m in one.items()} == {name: m.files for name, m in two.items()}
    assert {m.started for m in one.values()}.isdisjoint(m.started for m in two.values())
    training = next(m for m in one.values() if m.kind == "midtrain")
    assert {"seconds", "tokensPerSecond", "processes"} <= set(training.metrics), "how long it took is told, but not digested"
