"""Two stand-ins for torchrun in a warm process, for injecting faults only.

`counting_training` computes no gradients: its "adapter" is a chain of digests, one a step, which comes out right only if every resume
starts from the right state of the right step; milliseconds. `thread_ranks` is the real worker, loop and DeepSpeed, in a thread instead of a
process, so that torch is imported once.
"""

import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from msm.train.checkpoint import PROGRESS
from msm.train.job import TrainJob
from msm.train.launch import OnCheckpoint, OnProgress
from msm.train.outcome import StepReport, TrainOutcome, WorkFiles, write_outcome

STEPS = 5


def counting_training(
    job: TrainJob, on_progress: OnProgress, on_checkpoint: OnCheckpoint, stop: threading.Event, grace_seconds: float
) -> TrainOutcome:
    """`run_training`'s contract on a chain of digests; a checkpoint every two steps."""
    files = WorkFiles(job.work)
    files.checkpoints.mkdir(parents=True, exist_ok=True)
    step, state, lines = _restored(job)
    while step < STEPS:
        if stop.is_set():
            on_checkpoint(step, _saved(files, step, state, lines))
            return TrainOutcome("preempted", step, "a checkpoint holds it")
        step, state = step + 1, sha256(f"{state} {step}".encode()).hexdigest()
        lines = (*lines, {"step": step, "totalSteps": STEPS, "loss": 1 / step, "tokens": 8, "seconds": 0.1, "time": 1.0 + step})
        on_progress(StepReport(step, STEPS, 1 / step))
        if step % 2 == 0:
            on_checkpoint(step, _saved(files, step, state, lines))
    _write(files.progress, lines)
    job.out.mkdir()
    (job.out / "adapter_model.safetensors").write_text(state)
    (job.out / "metrics.jsonl").write_text("".join(json.dumps({"step": line["step"], "loss": line["loss"]}) + "\n" for line in lines))
    summary = {"updates": STEPS, "tokens": 8 * STEPS, "targetTokens": STEPS, "losses": [1.0], "packing": {"fill": 1.0}, "warnings": []}
    (job.out / "training.json").write_text(json.dumps(summary))
    return TrainOutcome("done", STEPS)


Line = Mapping[str, float]


def _restored(job: TrainJob) -> tuple[int, str, tuple[Line, ...]]:
    if job.resume is None:
        return 0, _start(job), ()
    kept = json.loads((job.resume / "state.json").read_text())
    return kept["step"], kept["state"], tuple(json.loads(line) for line in (job.resume / PROGRESS).read_text().splitlines())


def _start(job: TrainJob) -> str:
    """Everything that a training depends on, in one digest."""
    read = [*job.data, *([job.adapter / "adapter_model.safetensors"] if job.adapter else []), job.model / "config.json"]
    return sha256(b"\0".join(path.read_bytes() for path in read) + str(job.seed).encode()).hexdigest()


def _saved(files: WorkFiles, step: int, state: str, lines: tuple[Line, ...]) -> Path:
    path = files.checkpoints / f"step-{step:08d}"
    path.mkdir(exist_ok=True)
    (path / "state.json").write_text(json.dumps({"step": step, "state": state}))
    _write(path / PROGRESS, lines)
    return path


def _write(path: Path, lines: tuple[Line, ...]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@dataclass(slots=True)
class ThreadRanks:
    """One rank, in a thread: asked to stop where processes would be killed, and waited for."""

    thread: threading.Thread
    leave: threading.Event

    def ended(self) -> bool:
        return not self.thread.is_alive()

    def end_all(self) -> None:
        import torch

        self.leave.set()
        self.thread.join()
        torch.set_deterministic_debug_mode("default")


def thread_ranks(job: TrainJob, environment: Mapping[str, str]) -> ThreadRanks:
    """The real worker's training of one rank in this process."""
    from msm.train.worker import _outcome

    leave, files = threading.Event(), WorkFiles(job.work)
    files.log.touch()

    def train() -> None:
        write_outcome(files.outcome(0), _outcome(job, leave))

    thread = threading.Thread(target=train, name="rank", daemon=True)
    thread.start()
    return ThreadRanks(thread, leave)


@cache
def alone() -> Mapping[str, str]:
    """What torchrun says to the only rank, as environment; one port a process, since the ranks are joined once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {**place, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "DS_SKIP_CUDA_CHECK": "1"}
