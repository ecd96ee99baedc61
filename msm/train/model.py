"""The model a rank trains: loaded in float32 from safetensors, with a LoRA adapter, continued or fresh, or whole.

Neighbours: `data.weights` checks files first; `output` writes what comes out. Invariants: trained parameters are float32; with
equal seeds all ranks hold equal parameters; an adapter that is given is continued, never replaced. torch process only.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from msm.data.weights import check_safetensors
from msm.errors import UserError
from msm.train.job import ALL_PROJECTIONS, Lora, TrainJob


@dataclass(frozen=True, slots=True)
class Trainee:
    """`module` computes logits; `trained` are its trainable parameters by name, in a fixed order."""

    module: nn.Module
    trained: dict[str, nn.Parameter]


def load_trainee(job: TrainJob, device: torch.device) -> Trainee:
    """Loads, adapts, moves; UserError for weights that cannot be loaded."""
    base = load_base(job.model)
    _refuse_non_finite(base, job.model)
    if job.gradientCheckpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    module = _with_adapter(base, job, job.method) if isinstance(job.method, Lora) else base
    module = module.to(device).train()
    return Trainee(module, {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad})


def load_base(path: Path) -> Any:
    """A causal language model in float32, from safetensors only."""
    from transformers import AutoModelForCausalLM

    check_safetensors(path)
    try:
        return AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, attn_implementation="sdpa", use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError("model", f"{path.name} is not a causal language model ({error})", "name a Hugging Face model directory") from error


def adapter_state(module: nn.Module) -> dict[str, Tensor]:
    """The adapter's tensors under the names that PEFT files use."""
    from peft import get_peft_model_state_dict

    return {name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(module).items()}


def _with_adapter(base: Any, job: TrainJob, lora: Lora) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(ALL_PROJECTIONS),
        layers_to_transform=_last_layers(base, lora, job.field),
        bias="none",
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(job.seed)
    try:
        module: nn.Module = get_peft_model(base, config)
    except ValueError as error:
        fix = f"take a model with {', '.join(ALL_PROJECTIONS)}, or method: full"
        raise UserError(f"{job.field}.method", f"LoRA does not fit the model ({error})", fix) from error
    if job.adapter is not None:
        _continue_adapter(module, job.adapter, lora, job.field)
    if job.gradientCheckpointing:
        base.enable_input_require_grads()
    if job.precision == "bfloat16":
        _cast_frozen_linears(module)
    return module


def _last_layers(base: Any, lora: Lora, field: str) -> list[int] | None:
    """Numbers of the layers to adapt, None for all."""
    depth = int(base.config.num_hidden_layers)
    if lora.layers is not None and lora.layers > depth:
        raise UserError(
            f"{field}.lora.layers", f"{lora.layers} is more than the model's {depth} layers", f"use at most {depth}, or leave it out"
        )
    return None if lora.layers is None else list(range(depth - lora.layers, depth))


def _continue_adapter(module: nn.Module, path: Path, lora: Lora, field: str) -> None:
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    check_safetensors(path)
    tensors = load_file(path / "adapter_model.safetensors")
    expected = {name: tensor.shape for name, tensor in adapter_state(module).items()}
    _refuse_other_shape(path, lora, field)
    if {name: tensor.shape for name, tensor in tensors.items()} != expected:
        problem = f"{path.name} was made for another model: its tensors are not the ones that this model's adapter has"
        raise UserError("adapter", problem, "continue an adapter of the same base model")
    set_peft_model_state_dict(module, tensors)


def _refuse_other_shape(path: Path, lora: Lora, field: str) -> None:
    import json

    given = json.loads((path / "adapter_config.json").read_bytes())
    found, wanted = (given.get("r"), given.get("lora_alpha")), (lora.rank, lora.alpha)
    if found != wanted:
        problem = f"rank {wanted[0]}, alpha {wanted[1]:g}, but the adapter to continue has rank {found[0]}, alpha {found[1]:g}"
        raise UserError(f"{field}.method", problem, "use the same method in midtrain and finetune")


def _cast_frozen_linears(module: nn.Module) -> None:
    """Rounds frozen projections once. Autocast would round the same weights to the same bits in every forward pass."""
    from peft.tuners.lora import LoraLayer

    for layer in module.modules():
        if isinstance(layer, LoraLayer):
            layer.get_base_layer().to(torch.bfloat16)


def _refuse_non_finite(module: nn.Module, path: Path) -> None:
    broken = [name for name, parameter in module.named_parameters() if not bool(torch.isfinite(parameter.detach().sum()))]
    if broken:
        problem = f"{path.name}: {broken[0]} holds NaN or infinity; weights must be finite"
        raise UserError("model", problem, "fetch the model again; its file is damaged")
