"""Both training stages: inputs in, ranks under torchrun, checkpoints to the store, adapter or model out.

Neighbours: `midtrain` and `finetune` call it, `msm.train.launch` runs the ranks. Invariant: an attempt starts from the newest complete
checkpoint of any attempt; asked to stop, it leaves one and raises Preempted. On several machines this runs on each; the one that leads
writes. This process never imports torch.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from msm.errors import MSMError, Preempted, TryAgain, UserError
from msm.stages.context import Context, Result
from msm.stages.params import integer, mapping, number, optional_integer, text
from msm.store.artifacts import TIMES_FILE
from msm.store.checkpoints import prune, restore_newest, save_checkpoint
from msm.train.job import Full, Lora, TrainJob
from msm.train.launch import run_training
from msm.train.outcome import StepReport, TrainOutcome, WorkFiles
from msm.train.timing import read_reports, timing, totals

log = logging.getLogger(__name__)
AFTER_THE_OTHER_SECONDS = 10.0
"""By how much a machine outlives the one that failed, because the first to end is taken for the cause."""


def train(context: Context, stage: Literal["midtrain", "finetune"]) -> Result:
    """Run one training attempt to its end.

    Raises:
        Preempted: stopped with a checkpoint; UserError, MSMError: by what the ranks reported.
    """
    job = _job(context, stage, _resume(context))
    outcome = run_training(job, _reporter(context), _saver(context), context.stop, max(1.0, context.grace - 15))
    _raise_unless_done(outcome, context)
    if not context.leads:
        return Result()
    reports = read_reports(WorkFiles(job.work).progress)
    times = "".join(json.dumps(timing(report)) + "\n" for report in reports).encode()
    return Result({**_measured(context.out), **totals(reports), **_resources(job)}, {TIMES_FILE: times})


def _measured(out: Path) -> dict[str, float]:
    """What a finished training learned from and reached."""
    summary = json.loads((out / "training.json").read_text(encoding="utf-8"))
    losses = summary["losses"][-20:]
    whole = {name: float(summary[name]) for name in ("updates", "tokens", "targetTokens")}
    return {**whole, "loss": sum(losses) / len(losses), "packingFill": summary["packing"]["fill"]}


def _resources(job: TrainJob) -> dict[str, float]:
    """What it ran on; in no digest, since it may change results by rounding only."""
    return {
        "machines": float(job.machines),
        "processes": float(job.processes),
        "microBatchRows": float(job.microBatchRows),
        "zeroStage": float(job.zeroStage),
    }


def _resume(context: Context) -> Path | None:
    into = context.scratch / "resume"
    restored = restore_newest(context.store, context.stage.kind, context.stage.fingerprint, into)
    if restored is None:
        return None
    log.info("continuing from step %d of attempt %s", restored.step, restored.checkpoint.attempt)
    return into


def _job(context: Context, stage: Literal["midtrain", "finetune"], resume: Path | None) -> TrainJob:
    params = context.params
    execution = context.stage.execution
    resources = mapping(execution, "resources")
    processes = optional_integer(resources, "processesPerNode") or max(1, integer(resources, "gpusPerNode"))
    parents = context.paths("parent")
    lora = mapping(params, "method").get("lora")
    return TrainJob(
        stage=stage,
        model=parents[0] if parents and lora is None else context.path("model"),
        adapter=parents[0] if parents and lora is not None else None,
        data=tuple(path / "rows.jsonl" for path in context.paths("data", only=("rows.jsonl",))),
        out=context.scratch / "out",
        work=context.scratch / "work",
        method=Full() if lora is None else Lora.model_validate(lora),
        learningRate=number(params, "learningRate"),
        schedule="constant" if text(params, "schedule") == "constant" else "cosine",
        warmupRatio=number(params, "warmupRatio"),
        weightDecay=number(params, "weightDecay"),
        gradientClip=number(params, "gradientClip"),
        epochs=integer(params, "epochs"),
        maxLength=integer(params, "maxLength"),
        batchTokens=integer(params, "batchTokens"),
        seed=integer(params, "seed"),
        precision="bfloat16" if text(params, "precision") == "bfloat16" else "float32",
        baseName=text(context.manifests("model")[0].params, "source"),
        machines=integer(resources, "nodes"),
        leads=context.leads,
        processes=processes,
        microBatchRows=integer(resources, "microBatchRows"),
        gradientCheckpointing=resources.get("gradientCheckpointing") is True,
        zeroStage=_zero_stage(execution, integer(resources, "nodes") * processes),
        checkpointEverySeconds=max(1.0, number(execution, "checkpointEvery")),
        resume=resume,
    )


def _zero_stage(execution: dict[str, JsonValue], ranks: int) -> Literal[0, 1, 2]:
    """The stage asked for; one rank has nobody to share with, and ZeRO would only cost it time."""
    if ranks == 1:
        return 0
    match mapping(execution, "deepspeed").get("zeroStage"):
        case 0:
            return 0
        case 1:
            return 1
    return 2


def _reporter(context: Context) -> Callable[[StepReport], None]:
    def report(step: StepReport) -> None:
        metrics = {"loss": step.loss, "tokensPerSecond": step.tokensPerSecond, "learningRate": step.learningRate}
        left = (step.totalSteps - step.step) * step.seconds if step.seconds else None
        context.progress.at(step.step, step.totalSteps, left, **{k: v for k, v in metrics.items() if v is not None})

    return report


def _saver(context: Context) -> Callable[[int, Path], None]:
    def save(step: int, directory: Path) -> None:
        save_checkpoint(context.attempt, step, directory)
        prune(context.attempt)

    return save


def _raise_unless_done(outcome: TrainOutcome, context: Context) -> None:
    match outcome.kind:
        case "done":
            return
        case "preempted":
            raise Preempted(f"stopped at step {outcome.step}; {outcome.message}")
        case "user_error":
            raise UserError(outcome.field or "training", outcome.message, outcome.fix)
        case "try_again":
            context.stop.wait(AFTER_THE_OTHER_SECONDS)
            raise TryAgain(outcome.message)
    raise MSMError(outcome.message)
