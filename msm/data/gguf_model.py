"""A llama-architecture GGUF file becomes a plain Hugging Face directory in float32.

llama.cpp stores query and key rows in the order of its own rotary embedding; that permutation is undone here. Quantised tensors are
dequantised exactly as their blocks say. Neighbours: `fetch_model` calls, `gguf_tokenizer` writes the tokenizer, `safetensors_file` the
weights. Invariant: the same file gives the same bytes; nothing unknown is skipped silently. Cost: one tensor of memory, seconds for 135M.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msm.data.gguf_tokenizer import write_tokenizer
from msm.data.safetensors_file import Tensor, float_tensor, write_tensors
from msm.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Tensors of a block: llama.cpp's names -> Hugging Face's."""
WHOLE_PARTS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
"""Tensors outside blocks; without "output" the embeddings are tied."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a llama-architecture model, as its GGUF fields give them."""

    layers: int
    heads: int
    kv_heads: int
    hidden: int
    feed_forward: int
    vocabulary: int
    context: int
    rope_base: float
    norm_epsilon: float

    @property
    def head(self) -> int:
        """Size of one head."""
        return self.hidden // self.heads


@dataclass(frozen=True, slots=True)
class Fields:
    """A GGUF file's key-value fields, with errors that name the missing one."""

    values: Mapping[str, Any]
    where: str

    def get(self, key: str, default: Any = None) -> Any:
        """A field, or the default; UserError when there is neither."""
        found = self.values.get(key, default)
        if found is None:
            raise UserError(self.where, f"lacks the GGUF field {key}", "use a complete GGUF file of a llama-architecture model")
        return found


def convert_gguf(path: Path, into: Path) -> None:
    """Write config, generation config, tokenizer, chat template and model.safetensors into the directory `into`.

    Raises:
        UserError: not a whole GGUF file, another architecture, a tensor or tokenizer that is not understood.
    """
    reader = _open(path)
    fields = Fields({key: field.contents() for key, field in reader.fields.items()}, path.name)
    shape = read_shape(fields)
    tensors = [_tensor(tensor, shape, path.name) for tensor in reader.tensors]
    _check_complete({tensor.name for tensor in tensors}, shape, path.name)
    into.mkdir(parents=True, exist_ok=True)
    tied = "lm_head.weight" not in {tensor.name for tensor in tensors}
    write_json(into / "config.json", config(shape, fields, tied))
    write_json(into / "generation_config.json", _token_ids(fields))
    write_tokenizer(fields, into)
    write_tensors(into / "model.safetensors", tensors)


def _open(path: Path) -> Any:
    from gguf import GGUFReader

    try:
        return GGUFReader(path)
    except (ValueError, IndexError, KeyError, OSError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(path.name, f"is not a whole GGUF file ({reason})", "fetch it again") from error


def read_shape(fields: Fields) -> Shape:
    """The model's numbers; UserError for another architecture or heads that do not divide the width."""
    architecture = fields.get("general.architecture", "")
    if architecture != "llama":
        raise UserError(
            fields.where, f"has the architecture {architecture!r}, only 'llama' is converted", "use its Hugging Face repository"
        )
    heads = int(fields.get("llama.attention.head_count"))
    shape = Shape(
        layers=int(fields.get("llama.block_count")),
        heads=heads,
        kv_heads=int(fields.get("llama.attention.head_count_kv", heads)),
        hidden=int(fields.get("llama.embedding_length")),
        feed_forward=int(fields.get("llama.feed_forward_length")),
        vocabulary=len(fields.get("tokenizer.ggml.tokens")),
        context=int(fields.get("llama.context_length")),
        rope_base=_shortest(fields.get("llama.rope.freq_base", 10000.0)),
        norm_epsilon=_shortest(fields.get("llama.attention.layer_norm_rms_epsilon")),
    )
    rotary = int(fields.get("llama.rope.dimension_count", shape.head))
    if shape.hidden % heads or heads % shape.kv_heads or rotary != shape.head:
        problem = (
            f"has {heads} heads, {shape.kv_heads} key heads, width {shape.hidden} and {rotary} rotary dimensions, which do not fit together"
        )
        raise UserError(fields.where, problem, "use the model's Hugging Face repository")
    return shape


def _shortest(value: float) -> float:
    """The shortest decimal that is this float32: 1e-05, not 9.999999747378752e-06."""
    import numpy as np

    return float(str(np.float32(value)))


def _tensor(tensor: Any, shape: Shape, where: str) -> Tensor:
    """A GGUF tensor under its Hugging Face name; its values are dequantised when they are written."""
    name, heads = hf_name(tensor.name, shape, where)
    size = tuple(int(n) for n in tensor.shape)[::-1]

    def values() -> "NDArray[np.float32]":
        import numpy as np
        from gguf.quants import dequantize

        weights = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False).reshape(size)
        return weights if heads is None else unpermute(weights, heads)

    return float_tensor(name, size, values)


def hf_name(name: str, shape: Shape, where: str) -> tuple[str, int | None]:
    """Hugging Face's name of a tensor, and its number of heads when its rows are in llama.cpp's rotary order."""
    match name.split("."):
        case ["blk", layer, part, "weight"] if part in BLOCK_PARTS and layer.isdigit() and int(layer) < shape.layers:
            heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(part)
            return f"model.layers.{int(layer)}.{BLOCK_PARTS[part]}.weight", heads
        case [part, "weight"] if part in WHOLE_PARTS:
            return f"{WHOLE_PARTS[part]}.weight", None
    raise UserError(where, f"has the tensor {name!r}, which a plain llama model has not", "use the model's Hugging Face repository")


def unpermute(weights: "NDArray[np.float32]", heads: int) -> "NDArray[np.float32]":
    """Rows (heads * head, width) from llama.cpp's order, in which rotated pairs are neighbours, to halves: first all cosines' rows."""
    rows, width = weights.shape
    return weights.reshape(heads, rows // heads // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


def _check_complete(names: set[str], shape: Shape, where: str) -> None:
    wanted = {f"model.layers.{n}.{part}.weight" for n in range(shape.layers) for part in BLOCK_PARTS.values()}
    missing = sorted((wanted | {"model.embed_tokens.weight", "model.norm.weight"}) - names)
    if missing:
        raise UserError(where, f"lacks {len(missing)} tensors, such as {missing[0]}", "fetch it again")


def config(shape: Shape, fields: Fields, tied: bool) -> dict[str, Any]:
    """config.json of the model."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.norm_epsilon,
        "rope_theta": shape.rope_base,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": tied,
        "use_cache": True,
        "torch_dtype": "float32",
        **_token_ids(fields),
    }


def _token_ids(fields: Fields) -> dict[str, Any]:
    """Ids of begin, end and padding; a model without padding pads with its end."""
    end = int(fields.get("tokenizer.ggml.eos_token_id"))
    begin = int(fields.get("tokenizer.ggml.bos_token_id", end))
    return {"bos_token_id": begin, "eos_token_id": end, "pad_token_id": int(fields.get("tokenizer.ggml.padding_token_id", end))}


def write_json(path: Path, value: object) -> None:
    """JSON with a line a key, readable by all."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    path.chmod(0o644)
