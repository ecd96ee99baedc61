"""One rank: `python -m msm.train.worker job.json`, started by torchrun.

Sets up, loops, writes the rank's outcome, leaves. Neighbours: `launch` watches; `loop` trains. Invariants: every way out but a
kill leaves an outcome; when the launcher is gone the rank is gone. Imports torch and what needs it only after the lifeline is
held.
"""

import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from msm.errors import TryAgain, UserError
from msm.train.failures import outcome_of
from msm.train.job import TrainJob
from msm.train.lean_imports import forget_unused_packages
from msm.train.lifeline import hold_lifeline
from msm.train.outcome import StepReport, TrainOutcome, WorkFiles, write_outcome

if TYPE_CHECKING:
    import torch

    from msm.data.batches import BatchPlan
    from msm.data.examples import PackedCorpus
    from msm.train.engine import Engine
    from msm.train.loop import Signals


def main(path: Path) -> int:
    """Runs the job as the rank that torchrun says; returns the exit code, 0 also for a stop and for the user's mistake."""
    hold_lifeline()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    forget_unused_packages()
    job = TrainJob.model_validate_json(path.read_bytes())
    outcome = _outcome(job, stopped)
    write_outcome(WorkFiles(job.work).outcome(int(os.environ["LOCAL_RANK"])), outcome)
    return 1 if outcome.kind in ("fault", "try_again") else 0


def _outcome(job: TrainJob, stopped: threading.Event) -> TrainOutcome:
    try:
        return _train(job, stopped)
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exc()
        return outcome_of(job, error)


def _train(job: TrainJob, stopped: threading.Event) -> TrainOutcome:
    from msm.data.batches import BatchPlan, rows_per_update
    from msm.data.examples import load_corpus

    corpus = load_corpus(job.stage, job.data, job.model, job.maxLength)
    plan = BatchPlan(len(corpus.rows), rows_per_update(job.batchTokens, job.maxLength), job.epochs, job.seed)
    device = prepare_torch()
    engine, start = _start(job, device)
    return _run(job, corpus, plan, engine, start, stopped)


def prepare_torch() -> "torch.device":
    """The device of this rank; on CPU every operation is deterministic, which a bit-exact resume rests on."""
    import torch

    rank = int(os.environ["LOCAL_RANK"])
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
        return torch.device("cuda", rank)
    os.environ["DS_ACCELERATOR"] = "cpu"
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms(True), without importing the compiler
    return torch.device("cpu")


def _start(job: TrainJob, device: "torch.device") -> "tuple[Engine, int]":
    """The engine with everything a checkpoint holds put back, and the number of updates it has behind it."""
    from msm.train.checkpoint import load_checkpoint, load_parameters, mark
    from msm.train.engine import agree, connect, start_engine
    from msm.train.model import load_trainee

    connect(device)
    if not agree(mark(job.resume), device):
        raise TryAgain("the machines of this attempt found different checkpoints")
    trainee = load_trainee(job, device)
    if job.resume is not None:
        load_parameters(job, trainee.trained, job.resume)
    engine = start_engine(job, trainee, device)
    return engine, load_checkpoint(engine, job, job.resume) if job.resume is not None else 0


def _run(job: TrainJob, corpus: "PackedCorpus", plan: "BatchPlan", engine: "Engine", start: int, stopped: threading.Event) -> TrainOutcome:
    from msm.train.loop import Signals, Trainer
    from msm.train.output import write_output
    from msm.train.schedule import Schedule

    files = WorkFiles(job.work)
    signals = Signals(job, files.stop, stopped.is_set)
    schedule = Schedule(job.learningRate, plan.updates, job.warmupRatio, job.schedule)
    trainer = Trainer(job, corpus, plan, schedule, engine, signals)
    _open_progress(job, files, engine, StepReport(start, plan.updates))
    done = trainer.train(start, lambda report: _report(files, signals, engine, report), lambda step: _save(engine, job, step, signals))
    if done < plan.updates:
        return TrainOutcome("preempted", done, f"stopped after update {done} of {plan.updates}; a checkpoint holds it")
    if engine.writes:
        write_output(job, engine.trainee, corpus, plan.updates)
    engine.wait_for_all()
    return TrainOutcome("done", done)


def _open_progress(job: TrainJob, files: WorkFiles, engine: "Engine", opening: StepReport) -> None:
    from shutil import copyfile

    from msm.train.checkpoint import PROGRESS
    from msm.train.loop import append_line

    if engine.writes:
        if job.resume is not None:
            beside = files.progress.with_name("progress.tmp")
            copyfile(job.resume / PROGRESS, beside)
            beside.replace(files.progress)
        else:
            append_line(files.progress, opening)


def _report(files: WorkFiles, signals: "Signals", engine: "Engine", report: StepReport) -> None:
    from msm.train.loop import append_line

    signals.stepped()
    if engine.writes:
        append_line(files.progress, report)


def _save(engine: "Engine", job: TrainJob, step: int, signals: "Signals") -> None:
    from msm.train.checkpoint import save_checkpoint

    save_checkpoint(engine, job, step)
    signals.saved()


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # torch's and DeepSpeed's own tear-down takes seconds and has nothing left to do
