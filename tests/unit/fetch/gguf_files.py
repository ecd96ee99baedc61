"""Writes tiny llama-architecture GGUF files as llama.cpp's converter would."""

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType
from gguf.constants import GGMLQuantizationType
from gguf.quants import quantize

HIDDEN, FEED, LAYERS, HEADS, KV = 64, 96, 2, 4, 2
TEMPLATE = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def small_tokenizer():
    """A byte-level BPE with single digits, trained on a sentence."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["the model likes cheese and the cheese likes the model"] * 4, trainer)
    return tokenizer


def hf_weights(vocabulary: int, tied: bool = True, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights under Hugging Face's names, float32."""
    rng = np.random.default_rng(seed)
    shapes = {"model.embed_tokens.weight": (vocabulary, HIDDEN), "model.norm.weight": (HIDDEN,)}
    if not tied:
        shapes["lm_head.weight"] = (vocabulary, HIDDEN)
    for n in range(LAYERS):
        at = f"model.layers.{n}."
        shapes |= {at + "input_layernorm.weight": (HIDDEN,), at + "post_attention_layernorm.weight": (HIDDEN,)}
        shapes |= {at + "self_attn.q_proj.weight": (HIDDEN, HIDDEN), at + "self_attn.o_proj.weight": (HIDDEN, HIDDEN)}
        shapes |= {at + f"self_attn.{p}_proj.weight": (HIDDEN * KV // HEADS, HIDDEN) for p in "kv"}
        shapes |= {at + f"mlp.{p}_proj.weight": (FEED, HIDDEN) for p in ("gate", "up")} | {at + "mlp.down_proj.weight": (HIDDEN, FEED)}
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


GGUF_NAMES = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}


def permute(weights: np.ndarray, heads: int) -> np.ndarray:
    """Rows to the order of llama.cpp's rotary embedding (its converter's LlamaModel.permute)."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def write_gguf(path: Path, tied: bool = True, quantised: bool = False, change=lambda fields: None, extra=None) -> dict[str, np.ndarray]:
    """Write a whole file; returns the weights that a reader must find, after quantisation if there is one."""
    tokenizer = small_tokenizer()
    vocabulary = tokenizer.get_vocab_size()
    writer = GGUFWriter(path, "llama")
    fields = {"pre": "smollm", "model": "gpt2", "heads": HEADS}
    change(fields)
    _add_fields(writer, tokenizer, fields)
    expected = {}
    for name, weights in (hf_weights(vocabulary, tied) | (extra or {})).items():
        parts = name.split(".")
        stored = permute(weights, {"q_proj": HEADS, "k_proj": KV}[parts[-2]]) if parts[-2] in ("q_proj", "k_proj") else weights
        short = GGUF_NAMES.get(parts[-2], parts[-2])
        gguf_name = f"blk.{parts[2]}.{short}.weight" if parts[1] == "layers" else f"{short}.weight"
        expected[name] = weights
        if quantised and weights.ndim == 2:
            data = quantize(stored, GGMLQuantizationType.Q8_0)
            writer.add_tensor(gguf_name, data, raw_dtype=GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(gguf_name, stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def _add_fields(writer: GGUFWriter, tokenizer, fields) -> None:
    import json

    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])]
    merges = [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    writer.add_block_count(LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(fields["heads"])
    writer.add_head_count_kv(KV)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(fields["model"])
    writer.add_tokenizer_pre(fields["pre"])
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token in SPECIAL else TokenType.NORMAL for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
