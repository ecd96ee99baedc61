"""What a training leaves: an adapter in PEFT's format or a whole model directory, `training.json` and `metrics.jsonl`.

Neighbours: `worker` calls it on rank 0 when the last update is done; `stages` commits the directory, and keeps beside it what depends on
the clock (`timing`). Invariants: written beside and renamed when whole; no path of this machine, no time and no speed in any file, so
that equal trainings leave equal bytes; only finite float32 weights in safetensors. torch process only.
"""

import json
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

import torch
from safetensors.torch import save_file

from msm.data.examples import PackedCorpus
from msm.errors import UserError
from msm.train.counting import warn_few_updates
from msm.train.job import Lora, TrainJob
from msm.train.model import Trainee, adapter_state
from msm.train.outcome import WorkFiles, write_json
from msm.train.timing import lasting, read_reports

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
)


def write_output(job: TrainJob, trainee: Trainee, corpus: PackedCorpus, updates: int) -> None:
    """Writes `job.out`; UserError when the trained weights are not finite."""
    broken = [name for name, parameter in trainee.trained.items() if not bool(torch.isfinite(parameter).all())]
    if broken:
        problem = f"{job.learningRate:g}: {broken[0]} is not finite after the last update"
        raise UserError(f"{job.field}.learningRate", problem, "lower the learning rate; nothing was committed")
    partial = job.out.with_name(job.out.name + ".tmp")
    rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write = _write_adapter if isinstance(job.method, Lora) else _write_model
    write(job, trainee, partial)
    reports = [lasting(report) for report in read_reports(WorkFiles(job.work).progress)]
    (partial / "metrics.jsonl").write_text("".join(json.dumps(report) + "\n" for report in reports), encoding="utf-8")
    write_json(partial / "training.json", summarise(job, corpus, reports, updates))
    for entry in partial.iterdir():
        entry.chmod(0o644)
    partial.replace(job.out)


def summarise(job: TrainJob, corpus: PackedCorpus, reports: list[dict[str, Any]], updates: int) -> dict[str, Any]:
    """The contents of `training.json`."""
    warning = warn_few_updates(updates, job.stage)
    return {
        "stage": job.stage,
        "method": job.method.model_dump(),
        "baseName": job.baseName,
        "continuesAdapter": job.adapter is not None,
        "precision": job.precision,
        "updates": updates,
        "tokens": corpus.tokens * job.epochs,
        "targetTokens": sum(piece.targets for piece in corpus.pieces) * job.epochs,
        "packing": {"rows": len(corpus.rows), "fill": corpus.fill},
        "losses": [report["loss"] for report in reports],
        "warnings": [warning] if warning else [],
    }


def _write_adapter(job: TrainJob, trainee: Trainee, directory: Path) -> None:
    module: Any = trainee.module
    save_file(adapter_state(module), directory / "adapter_model.safetensors", {"format": "pt"})
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in module.peft_config["default"].to_dict().items()}
    write_json(directory / "adapter_config.json", {**config, "base_model_name_or_path": job.baseName, "inference_mode": True})


def _write_model(job: TrainJob, trainee: Trainee, directory: Path) -> None:
    module: Any = trainee.module
    module.save_pretrained(directory, safe_serialization=True)
    for name in TOKENIZER_FILES:
        if (job.model / name).is_file():
            copyfile(job.model / name, directory / name)
