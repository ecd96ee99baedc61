"""What the entry program makes of its ranks: progress, checkpoints, outcomes, and no process left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from msm.errors import TryAgain, UserError
from msm.train.job import TrainJob
from msm.train.launch import run_training
from msm.train.outcome import WorkFiles
from msm.train.processes import start_marked

FAKE = Path(__file__).with_name("fake_ranks.py")


def make_job(directory, processes=2, **changes):
    return TrainJob(
        stage="midtrain", model=directory, data=(directory,), out=directory / "out", work=directory / "work", processes=processes, **changes
    )


def as_fake(behaviour):
    def start(job, environment):
        command = [sys.executable, str(FAKE), str(WorkFiles(job.work).job), behaviour]
        return start_marked(job, command, {**environment, "PYTHONPATH": os.pathsep.join(sys.path)})

    return start


def run(directory, behaviour, stop_at=None, grace=20.0, deliver=lambda step, path: None, **changes):
    steps, stop = [], threading.Event()

    def progress(report):
        steps.append(report.step)
        if report.step == stop_at:
            stop.set()

    return run_training(make_job(directory, **changes), progress, deliver, stop, grace, as_fake(behaviour)), steps


def alive(directory):
    pids = [int(path.read_text()) for path in (directory / "work").glob("pid-*")]
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and b"fake_ranks" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_training_that_ends_well_relays_every_step_and_the_newest_checkpoint(tmp_path):
    delivered = []
    outcome, steps = run(tmp_path, "trains", deliver=lambda step, path: delivered.append((step, path.is_dir())))
    assert (outcome.kind, outcome.step) == ("done", 5)
    assert steps == [1, 2, 3, 4, 5]
    assert delivered[-1] == (5, True)
    assert delivered == sorted(delivered)


def test_a_stop_is_asked_for_by_a_file_and_ends_as_preempted(tmp_path):
    outcome, steps = run(tmp_path, "trains long", stop_at=3)
    assert outcome.kind == "preempted"
    assert 3 <= outcome.step < 500
    assert steps[-1] >= 3
    assert len(list((tmp_path / "work" / "checkpoints").iterdir())) <= 4


def test_ranks_that_ignore_a_stop_are_killed_when_the_grace_is_over(tmp_path):
    begin = time.monotonic()
    outcome, _ = run(tmp_path, "hangs", stop_at=1, grace=0.3)
    assert (outcome.kind, outcome.step) == ("preempted", 1)
    assert time.monotonic() - begin < 10
    assert alive(tmp_path) == []


def test_the_users_mistake_on_one_rank_is_the_outcome_and_ends_the_others(tmp_path):
    outcome, _ = run(tmp_path, "one fails, others hang")
    assert (outcome.kind, outcome.message, outcome.field) == ("user_error", "loss is nan", "spec.x")
    assert alive(tmp_path) == []


def test_ranks_that_die_silently_are_a_fault_with_their_last_words(tmp_path):
    outcome, _ = run(tmp_path, "dies")
    assert outcome.kind == "fault"
    assert "RuntimeError: it broke" in outcome.message


SEVERAL_MACHINES = {
    "ranks that lost those of another machine are not the cause": (
        "loses the other machine",
        "try_again",
        "lost a rank on another machine",
    ),
    "a rank that was killed on this machine is": ("one is killed, the other loses it", "fault", "a rank ended without an outcome"),
    "machines that do not find each other try again": ("do not meet", "try_again", "the 2 machines did not meet: torch.distributed"),
}


@pytest.mark.parametrize("case", SEVERAL_MACHINES.values(), ids=SEVERAL_MACHINES)
def test_of_several_machines_each_says_whether_it_is_the_cause(case, tmp_path):
    behaviour, kind, message = case
    outcome, _ = run(tmp_path, behaviour, machines=2)
    assert outcome.kind == kind
    assert message in outcome.message
    assert alive(tmp_path) == []


def test_a_delivery_that_fails_is_raised_and_leaves_no_process(tmp_path):
    def deliver(step, path):
        raise OSError("bucket is gone")

    with pytest.raises(OSError, match="bucket is gone"):
        run(tmp_path, "trains long", deliver=deliver)
    assert alive(tmp_path) == []


def test_a_checkpoint_that_nobody_takes_is_offered_again_and_costs_the_training_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("msm.train.launch.REDELIVER_SECONDS", 0.0)
    offered, taken = [], []

    def deliver(step, path):
        offered.append(step)
        if len(offered) < 3:
            raise TryAgain("no answer")
        taken.append(step)

    outcome, _ = run(tmp_path, "trains long", stop_at=60, deliver=deliver)
    assert outcome.kind == "preempted"
    assert taken[-1] == outcome.step, "the last one, which the stop made, arrived"


def test_a_stop_whose_checkpoint_nobody_takes_says_so(tmp_path):
    def deliver(step, path):
        raise TryAgain("no answer")

    with pytest.raises(TryAgain, match="the checkpoint of step 0 is the last that is stored: no answer"):
        run(tmp_path, "trains long", stop_at=3, deliver=deliver)
    assert alive(tmp_path) == []


def test_a_training_that_is_done_needs_no_checkpoint(tmp_path):
    def deliver(step, path):
        raise TryAgain("no answer")

    assert run(tmp_path, "trains", deliver=deliver)[0].kind == "done"


def test_an_existing_output_and_an_unwritable_work_directory_are_refused(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="out exists"):
        run(tmp_path, "trains")
    (tmp_path / "out").rmdir()
    (tmp_path / "work").write_text("a file is in the way")
    with pytest.raises(UserError, match="cannot be written"):
        run(tmp_path, "trains")


LAUNCHER = """
import sys, threading
from pathlib import Path
sys.path[:0] = {path!r}
from tests.unit.train.test_launch import as_fake, make_job
from msm.train.launch import run_training
job = make_job(Path({directory!r}))
run_training(job, lambda report: print(report.step, flush=True), lambda *_: None, threading.Event(), 5, as_fake("hangs"))
"""


def test_no_rank_outlives_a_launcher_that_is_killed(tmp_path):
    code = LAUNCHER.format(path=[str(FAKE.parents[3])], directory=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout.readline() == "1\n"
        wait_for(lambda: len(alive(tmp_path)) == 2)
        launcher.send_signal(signal.SIGKILL)
        launcher.wait()
        wait_for(lambda: alive(tmp_path) == [])


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
