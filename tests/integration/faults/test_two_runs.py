"""Two `msm run` of one file at once on one store."""

from collections.abc import Callable
from pathlib import Path

import pytest

from msm.local.accept import accept
from msm.store.artifacts import read_manifest
from tests.integration.faults.conftest import ONE_TRAINING, Type

pytestmark = pytest.mark.long


def test_one_follows_the_other_both_end_well_and_each_stage_is_done_once(write: Callable[..., Path], msm: Type, tmp_path: Path) -> None:
    path, shared = write(**ONE_TRAINING), {"MSM_STORE_URI": f"file://{tmp_path}/store"}
    pair = [msm("run", path, home=tmp_path / name, environ=shared) for name in ("one", "two")]
    ends = [command.end() for command in pair]
    assert [code for code, _ in ends] == [0, 0], ends
    run = accept(path, {"MSM_HOME": str(tmp_path / "one"), **shared}, path.parent)
    for stage in run.plan.stages:
        manifest = read_manifest(run.store, stage.kind, stage.fingerprint)
        assert manifest is not None
        prefix = f"{stage.kind}/{stage.fingerprint}/attempts/"
        uploaded = {found.key.removeprefix(prefix).split("/")[0] for found in run.store.list(prefix) if "/files/" in found.key}
        at_work = {attempt for attempt in uploaded if any(f"{attempt}/files/" in f.key for f in run.store.list(prefix))}
        assert at_work == {manifest.attempt}, f"{stage.name} was done by {at_work}"
    assert any("following" in said for _, said in ends), ends
