"""Checkpoints of our own: safetensors and JSON, written beside and renamed when whole, free of the number of ranks.

Parameters are written once (they are equal on all ranks); each rank writes the fragments of optimizer state that it holds, under
parameter name and offset, so that another number of ranks or ZeRO stage can take them up. The learning rate, the data order and
the dropout masks are functions of (seed, step), so the step is the rest of the state. Nothing is pickled. torch process only.
"""

import json
import os
from hashlib import sha256
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from msm.data.weights import check_safetensors
from msm.errors import IntegrityError, UserError
from msm.train.engine import Engine
from msm.train.job import TrainJob
from msm.train.outcome import WorkFiles, write_json
from msm.train.shipping import receive_file, send_file

FORMAT = 1
MOMENTS = ("exp_avg", "exp_avg_sq")
PARAMETERS = "parameters.safetensors"
PROGRESS = "progress.jsonl"
MANIFEST = "checkpoint.json"


def save_checkpoint(engine: Engine, job: TrainJob, step: int) -> Path:
    """Writes `step-…` under the work directory's checkpoints on the writer's machine; all ranks take part. Returns its path.

    Ranks elsewhere write their part into their own work directory and send it.
    """
    files = WorkFiles(job.work)
    path = files.checkpoints / f"step-{step:08d}"
    partial = path.with_name(path.name + ".tmp")
    if engine.first_here:
        partial.mkdir(parents=True)
    if engine.writes:
        save_file({name: parameter.detach().cpu() for name, parameter in engine.trainee.trained.items()}, partial / PARAMETERS)
        copyfile(files.progress, partial / PROGRESS)
    engine.wait_for_all()
    if engine.writes or engine.zero_stage:
        save_file(_optimizer_state(engine), partial / _optimizer_file(engine.rank))
    if engine.zero_stage:
        _collect(engine, partial)
    engine.wait_for_all()
    if engine.writes:
        _seal(partial, path, step, settings(job))
    elif engine.first_here:
        partial.rmdir()
    engine.wait_for_all()
    return path


def _collect(engine: Engine, partial: Path) -> None:
    """Brings the parts of ranks on other machines to the writer, one after the other."""
    for rank in engine.elsewhere():
        part = partial / _optimizer_file(rank)
        if engine.writes:
            receive_file(part, rank, engine.device)
        elif engine.rank == rank:
            send_file(part, engine.writer, engine.device)
            part.unlink()


def load_checkpoint(engine: Engine, job: TrainJob, path: Path) -> int:
    """Puts optimizer state back and returns the step; parameters must have been put back before the engine was made."""
    manifest = read_manifest(job, path)
    wanted = {(fragment.name, moment) for fragment in engine.fragments() for moment in MOMENTS}
    whole = _assemble(path, manifest, wanted)
    states = engine.optimizer.state
    for fragment in engine.fragments():
        state = states[fragment.key]
        state.setdefault("step", torch.tensor(float(manifest["step"]), dtype=torch.float32, device=fragment.key.device))
        for moment in MOMENTS:
            kept = state.setdefault(moment, torch.zeros_like(fragment.key, memory_format=torch.preserve_format))
            part = whole[fragment.name, moment].view(-1)[fragment.start : fragment.start + fragment.count]
            kept.view(-1)[fragment.offset : fragment.offset + fragment.count].copy_(part)
    return int(manifest["step"])


def load_parameters(job: TrainJob, trained: dict[str, torch.nn.Parameter], path: Path) -> None:
    """Puts the trained parameters back."""
    read_manifest(job, path)
    tensors = load_file(path / PARAMETERS)
    if {name: tensor.shape for name, tensor in tensors.items()} != {name: parameter.shape for name, parameter in trained.items()}:
        raise IntegrityError(f"{path.name}: the parameters are not those of this job's model and method")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(tensors[name])


def read_manifest(job: TrainJob, path: Path) -> dict[str, Any]:
    """The checkpoint's manifest; IntegrityError for bytes that are not what was written, UserError for another job's."""
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path.name}: no readable checkpoint.json ({error})") from error
    for name, digest in manifest["files"].items():
        if _digest(path / name) != digest:
            raise IntegrityError(f"{path.name}/{name}: its bytes are not the ones that were written")
    if manifest["settings"] != settings(job):
        changed = sorted(key for key, value in settings(job).items() if manifest["settings"].get(key) != value)
        raise UserError("resume", f"the checkpoint is of a training with other {', '.join(changed)}", "start without it")
    return manifest


def mark(path: Path | None) -> int:
    """A number below 2**48 that tells checkpoints apart; 0 for none."""
    return 0 if path is None else int(_digest(path / MANIFEST)[:12], 16)


def settings(job: TrainJob) -> dict[str, Any]:
    """What must be equal for a checkpoint to be continued: all that changes results, but no paths and no resources."""
    names = (
        "stage", "method", "learningRate", "schedule", "warmupRatio", "weightDecay", "gradientClip", "epochs", "maxLength", "batchTokens",
        "seed", "precision",
    )  # fmt: skip
    return job.model_dump(mode="json", include=set(names))


def _optimizer_file(rank: int) -> str:
    return f"optimizer-rank{rank}.safetensors"


def _optimizer_state(engine: Engine) -> dict[str, Tensor]:
    """`moment|parameter|start` -> flat float32 fragment."""
    kept = {}
    for fragment in engine.fragments():
        state = engine.optimizer.state[fragment.key]
        for moment in MOMENTS:
            flat = state[moment].view(-1)[fragment.offset : fragment.offset + fragment.count]
            kept[f"{moment}|{fragment.name}|{fragment.start}"] = flat.cpu().clone()
    return kept


def _assemble(path: Path, manifest: dict[str, Any], wanted: set[tuple[str, str]]) -> dict[tuple[str, str], Tensor]:
    """Whole flat moments of the wanted parameters, from the fragments of all ranks that wrote."""
    parts: dict[tuple[str, str], dict[int, Tensor]] = {}
    for name in sorted(manifest["files"]):
        if name.startswith("optimizer-"):
            check_safetensors(path / name)
            with safe_open(path / name, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 - not a mapping
                    moment, parameter, start = key.split("|")
                    if (parameter, moment) in wanted:
                        parts.setdefault((parameter, moment), {})[int(start)] = file.get_tensor(key)
    return {key: torch.cat([found[start] for start in sorted(found)]) for key, found in parts.items()}


def _seal(partial: Path, path: Path, step: int, kept: dict[str, Any]) -> None:
    digests = {entry.name: _digest(entry) for entry in sorted(partial.iterdir())}
    write_json(partial / MANIFEST, {"format": FORMAT, "step": step, "settings": kept, "files": digests})
    for entry in partial.iterdir():
        entry.chmod(0o644)
        with entry.open("rb") as file:
            os.fsync(file.fileno())
    if path.exists():
        rmtree(path)
    partial.replace(path)


def _digest(path: Path) -> str:
    digest = sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise IntegrityError(f"{path.parent.name}/{path.name}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()
