"""Equal work leaves equal bytes: the whole chain, really trained and evaluated, at two hours and in two places, file by file."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from msm.store.artifacts import Manifest, read_manifest
from tests.chaos import tiny_run
from tests.chaos.warm import WarmClock, World

pytestmark = pytest.mark.slow


def manifests(world: World) -> dict[str, Manifest]:
    run = world.accepted()
    found = {stage.name: read_manifest(run.store, stage.kind, stage.fingerprint) for stage in run.plan.stages}
    assert None not in found.values(), found
    return found  # type: ignore[return-value]


def test_the_whole_chain_made_twice_has_equal_content_digests(tmp_path: Path) -> None:
    model = tiny_run.make_model(tmp_path)
    elsewhere = tmp_path / "a longer path" / "with spaces"
    shutil.copytree(model, elsewhere / "copy of the model")
    places = (
        World(tiny_run.write_run(tmp_path / "in", model), tmp_path / "home", True),
        World(
            tiny_run.write_run(elsewhere, elsewhere / "copy of the model"),
            elsewhere / "home",
            True,
            WarmClock(datetime(2031, 7, 9, 23, 59, tzinfo=UTC)),
        ),
    )
    found = []
    for world in places:
        call = world.call()
        assert call.succeeded, call
        found.append(manifests(world))
    one, two = found
    assert {name: m.fingerprint for name, m in one.items()} == {name: m.fingerprint for name, m in two.items()}
    assert {name: m.files for name, m in one.items()} == {name: m.files for name, m in two.items()}
    assert {m.started.year for m in one.values()}.isdisjoint(m.started.year for m in two.values())
    training = next(m for m in one.values() if m.kind == "midtrain")
    assert {"seconds", "tokensPerSecond", "processes"} <= set(training.metrics), "how long it took is told, but not digested"
