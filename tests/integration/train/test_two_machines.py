"""A training on two machines: the same result as on one, stopped and killed as one."""

import signal
import time

import pytest

from tests.integration.train.machines import (
    checkpoint_step,
    end,
    finish,
    losses,
    make_cluster,
    manifest_of,
    start_machines,
    steps,
    wait_for,
)

LONG = {"epochs": 60}
"""Some ten seconds of updates."""


@pytest.fixture
def cluster(trained, tmp_path):
    root, _ = trained
    return make_cluster(tmp_path, root / "model", root / "documents.jsonl")


def test_two_machines_with_a_rank_each_compute_what_two_ranks_on_one_do(trained, cluster):
    stage = cluster.stage(nodes=2, processes=1)
    assert stage.fingerprint == cluster.stage(nodes=1, processes=2).fingerprint
    machines = start_machines(cluster, stage, "two")
    try:
        ended = finish(cluster, "two", machines)
    finally:
        end(machines)
    assert ended == [(0, "midtrain a committed"), (0, "midtrain a was committed by the machine that leads")]
    assert losses(cluster, stage) == trained[1][2]["lora"]["whole"]["losses"]
    assert manifest_of(cluster, stage).metrics["machines"] == 2
    assert len(steps(cluster, stage)) == 1, "one machine has the attempt"
    assert not (cluster.root / "two-1" / "scratch" / "out").exists()


def stopped(cluster, stage, name, which, how):
    """Starts both, waits for a checkpoint that is further than any before, signals one of them; how both ended, and after how long."""
    before = checkpoint_step(cluster, stage)
    machines = start_machines(cluster, stage, name)
    try:
        wait_for(lambda: checkpoint_step(cluster, stage) > before)
        machines[which].send_signal(how)
        begin = time.monotonic()
        ended = finish(cluster, name, machines)
        return ended, time.monotonic() - begin
    finally:
        end(machines)


@pytest.mark.long
def test_stopped_and_killed_on_either_machine_it_goes_on_and_ends_with_the_digest_of_one_machine(cluster):
    stage = cluster.stage(nodes=2, processes=1, **LONG)

    ended, _ = stopped(cluster, stage, "stopped", 1, signal.SIGTERM)
    assert [code for code, _ in ended] == [143, 143]
    assert f"stopped at step {checkpoint_step(cluster, stage)};" in ended[0][1], "the leader stored it though only the other was told"

    ended, seconds = stopped(cluster, stage, "follower-killed", 1, signal.SIGKILL)
    assert [code for code, _ in ended] == [75, -9]
    assert "lost a rank on another machine" in ended[0][1]
    assert 10 <= seconds < 40, "the cause is the first to end, and the other follows"

    ended, seconds = stopped(cluster, stage, "leader-killed", 0, signal.SIGKILL)
    assert [code for code, _ in ended] == [-9, 75]
    assert "lost a rank on another machine" in ended[1][1]
    assert 10 <= seconds < 40

    reached = checkpoint_step(cluster, stage)
    machines = start_machines(cluster, stage, "finished")
    try:
        assert [code for code, _ in finish(cluster, "finished", machines)] == [0, 0]
    finally:
        end(machines)
    assert f"continuing from step {reached}" in (cluster.root / "finished-1" / "log.txt").read_text()

    alone = make_cluster(cluster.root / "alone", cluster.model, cluster.documents)
    [machine] = start_machines(alone, alone.stage(nodes=1, processes=2, **LONG), "one")
    assert finish(alone, "one", [machine]) == [(0, "midtrain a committed")]
    assert manifest_of(alone, stage).content_digest == manifest_of(cluster, stage).content_digest
