"""The estimate of `msm preview` against what autograd really keeps of the model that training makes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from msm.preview.memory import Training, kept_by_layers
from msm.preview.shape import shape
from msm.train.job import Full, Lora, TrainJob
from msm.train.model import load_trainee

TOKENS, RANK = 256, 64


def config(layers: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=320,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=TOKENS,
        tie_word_embeddings=False,
    )


def kept(directory: Path, layers: int, *, lora: bool, bfloat16: bool, checkpointing: bool) -> int:
    """Bytes of the distinct tensors that the forward pass leaves for the backward pass; parameters are not among them."""
    model = directory / f"{layers}"
    LlamaForCausalLM(config(layers)).save_pretrained(model)
    job = TrainJob(
        stage="midtrain",
        model=model,
        data=(model,),
        out=directory / "out",
        work=directory / "work",
        method=Lora(rank=RANK) if lora else Full(),
        precision="bfloat16" if bfloat16 else "float32",
        gradientCheckpointing=checkpointing,
    )
    module = load_trainee(job, torch.device("cpu")).module
    parameters = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    seen: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in parameters:
            seen[place] = tensor
        return tensor

    positions = torch.arange(TOKENS // 2).repeat(2)[None]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        module(input_ids=torch.arange(TOKENS)[None], position_ids=positions, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in seen.values())


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "computed again"])
@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_what_a_layer_keeps_is_counted_to_the_byte(tmp_path: Path, lora: bool, bfloat16: bool, checkpointing: bool) -> None:
    """Two layers more make the difference; the embedding and the logits are not in it."""
    said: dict[str, Any] = {"lora": lora, "bfloat16": bfloat16, "checkpointing": checkpointing}
    measured = kept(tmp_path, 4, **said) - kept(tmp_path, 2, **said)
    training = Training(TOKENS, TOKENS, bfloat16, rank=RANK if lora else 0, checkpointing=checkpointing)
    four, two = (shape(config(layers).to_dict()) for layers in (4, 2))
    assert four is not None and two is not None
    assert measured == kept_by_layers(four, training) - kept_by_layers(two, training)
