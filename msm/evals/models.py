"""The models of one evaluation, one after the other in one process: the base loaded once, adapters put on and taken off.

Imported by torch processes only. Neighbour: `preference` walks through them. Invariant: an adapter leaves the base's weights as they were
(LoRA is never merged); only safetensors are read. Cost: one base load, plus one load for each full model; at most one model in memory.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from msm.errors import UserError
from msm.evals.settings import ModelRef

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def each_model(base_dir: Path, models: Mapping[str, ModelRef], device: torch.device) -> Iterator[tuple[str, Any]]:
    """Yield (label, model in eval mode): the bare base and adapters in the order given, then full models."""
    base: Any = None
    for label, ref in models.items():
        if ref.full is not None:
            continue
        base = load_model(base_dir, device) if base is None else base
        if ref.adapter is None:
            yield label, base
            continue
        wrapped = attach(base, ref.adapter)
        yield label, wrapped
        base = detach(wrapped)
    del base
    for label, ref in models.items():
        if ref.full is not None:
            yield label, load_model(ref.full, device)


def load_model(directory: Path, device: torch.device) -> Any:
    """Load a causal language model in float32; raises UserError for a directory that is not one."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    if not any(directory.glob("*.safetensors")):
        raise UserError(str(directory), "holds no *.safetensors, the only weights that are loaded", "convert the model to safetensors")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, attn_implementation="sdpa", local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(str(directory), f"cannot be loaded as a causal language model ({_line(error)})", "check its files") from error
    return model.to(device).eval()


def load_tokenizer(directory: Path) -> Any:
    """Load the tokenizer of a model directory; raises UserError when it is broken or has no chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(str(directory), f"has no usable tokenizer ({_line(error)})", "add tokenizer.json and its config") from error
    if not tokenizer.chat_template:
        raise UserError(str(directory), "its tokenizer has no chat template, which preferences are asked through", "use a chat model")
    return tokenizer


def attach(base: Any, adapter: Path) -> Any:
    """Put a PEFT adapter on the base, without merging; raises UserError for one that does not fit."""
    from peft import PeftModel

    for name in ADAPTER_FILES:
        if not (adapter / name).is_file():
            raise UserError(str(adapter), f"has no {name}, an adapter needs {' and '.join(ADAPTER_FILES)}", "save it with PEFT, safely")
    try:
        return PeftModel.from_pretrained(base, str(adapter), is_trainable=False).eval()
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(str(adapter), f"does not fit the base model ({_line(error)})", "use the base it was made for") from error


def detach(wrapped: Any) -> Any:
    """Take the adapter off again; returns the base, or None when the adapter replaced parts of it and the base must be reloaded."""
    config = wrapped.peft_config[wrapped.active_adapter]
    replaced = bool(getattr(config, "modules_to_save", None)) or getattr(config, "bias", "none") != "none"
    base = wrapped.unload()
    return None if replaced else base


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
