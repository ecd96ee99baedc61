import os
import time
from pathlib import Path

from msm.local.process import ABANDONED_SECONDS, sweep
from msm.stages import contract
from msm.stages.app import app_def
from tests.runs import example, plan


def test_a_stage_is_described_as_one_role_with_its_document_in_the_environment() -> None:
    stage = plan(example()).stages[0]
    app = app_def(stage, {"MSM_STORE_URI": "file:///x"}, "python", image="trainer:1")
    (role,) = app.roles
    assert (role.image, role.num_replicas, role.args) == ("trainer:1", 1, ["-m", "msm.stages"])
    assert contract.decode_stage(role.env) == stage
    assert role.env["MSM_STORE_URI"] == "file:///x"


def test_only_old_working_directories_of_executors_that_are_gone_are_swept(tmp_path: Path) -> None:
    gone, mine = tmp_path / "midtrain-a-1.999999999", tmp_path / f"midtrain-b-1.{os.getpid()}"
    for path in (gone, mine):
        path.mkdir()
    assert sweep(tmp_path, time.time()) == 0, "its stages may still be checkpointing"
    assert sweep(tmp_path, time.time() + ABANDONED_SECONDS + 1) == 1
    assert [p.name for p in tmp_path.iterdir()] == [mine.name]
