"""Real processes: killed, stopped, taken up again, and wrong from the start."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from msm.train.job import Lora, TrainJob
from msm.train.launch import complete_checkpoints, run_training
from msm.train.outcome import WorkFiles

REPOSITORY = str(Path(__file__).parents[3])
LAUNCHER = """
import sys, threading
from pathlib import Path
from msm.train.job import TrainJob
from msm.train.launch import run_training
job = TrainJob.model_validate_json(Path(sys.argv[1]).read_bytes())
run_training(job, lambda report: print(report.step, flush=True), lambda *_: None, threading.Event(), 60)
"""


def make_job(root, work, **changes):
    """The same training as `lora` of ranks.py with two ranks, whose losses are the uninterrupted ones."""
    settings = {
        "stage": "midtrain",
        "model": root / "model",
        "data": (root / "documents.jsonl",),
        "method": Lora(rank=4, alpha=8, dropout=0.1),
        "learningRate": 1e-3,
        "epochs": 2,
        "maxLength": 128,
        "batchTokens": 640,
        "processes": 2,
        "threads": 1,
        "zeroStage": 2,
        "checkpointEverySteps": 1,
    }
    return TrainJob.model_validate({**settings, "out": work / "out", "work": work / "work", **changes})


def run(job, stop_at=None):
    stop, losses = threading.Event(), {}

    def progress(report):
        if report.loss is not None:
            losses[report.step] = report.loss.hex()
        if report.step == stop_at:
            stop.set()

    return run_training(job, progress, lambda step, path: None, stop, 60), [losses[step] for step in sorted(losses)]


def kill_launcher_at(job, path, step):
    path.write_text(job.model_dump_json())
    environment = {**os.environ, "PYTHONPATH": REPOSITORY}
    with subprocess.Popen([sys.executable, "-c", LAUNCHER, str(path)], stdout=subprocess.PIPE, text=True, env=environment) as launcher:
        for line in launcher.stdout:
            if int(line) >= step:
                launcher.send_signal(signal.SIGKILL)
                break
        launcher.wait()


def processes_of(job):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(WorkFiles(job.work).job).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.mark.long
def test_killed_then_stopped_then_finished_is_the_uninterrupted_training_to_the_last_bit(trained, tmp_path):
    root, results = trained
    whole = results[2]["lora"]["whole"]["losses"]
    killed = make_job(root, tmp_path / "killed")
    (tmp_path / "killed").mkdir()
    kill_launcher_at(killed, tmp_path / "job.json", 2)
    wait_for(lambda: not processes_of(killed))
    step, checkpoint = complete_checkpoints(WorkFiles(killed.work).checkpoints)[-1]
    assert step >= 1

    stopped = make_job(root, tmp_path / "stopped", resume=checkpoint, checkpointEverySteps=None)
    outcome, losses = run(stopped, stop_at=step + 1)
    assert outcome.kind == "preempted"
    assert losses == whole[: outcome.step]
    assert processes_of(stopped) == []

    [(_, newest)] = complete_checkpoints(WorkFiles(stopped.work).checkpoints)
    finished = make_job(root, tmp_path / "finished", resume=newest, checkpointEverySteps=None)
    outcome, losses = run(finished)
    assert outcome.kind == "done"
    assert losses == whole
    assert json.loads((finished.out / "training.json").read_text())["updates"] == len(whole)


def test_the_users_mistake_ends_in_one_line_before_torch_is_loaded(trained, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "fine"}\n{"text": 3}\n')
    outcome, _ = run(make_job(trained[0], tmp_path, data=(tmp_path / "rows.jsonl",), processes=1, zeroStage=0))
    assert (outcome.kind, outcome.field) == ("user_error", "rows.jsonl:2")
    assert "must be a text" in outcome.message
    assert not (tmp_path / "out").exists()


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
