"""A Llama of a few thousand parameters as the files of a Hugging Face directory, made without torch.

Neighbours: `run` names where they lie. Pure. Invariant: the bytes are a function of the seed; the tokenizer knows all bytes and merges
none, so that any text can be trained on. It cannot do anything: it is for finding out whether pods, stores and jobs work.
"""

import json
import random
import struct
from collections.abc import Iterator

HIDDEN, LAYERS, HEADS, KV_HEADS, POSITIONS = 32, 1, 4, 2, 512
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END, START, STOP = SPECIAL
VOCABULARY = len(SPECIAL) + 256
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def files(seed: int) -> dict[str, bytes]:
    """Name -> content of every file."""
    return {
        "config.json": _json(_config()),
        "generation_config.json": _json({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}),
        "tokenizer.json": _json(_tokenizer()),
        "tokenizer_config.json": _json(_tokenizer_config()),
        "chat_template.jinja": TEMPLATE.encode(),
        "model.safetensors": _safetensors(dict(_weights(random.Random(seed)))),
    }


def _json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def _config() -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": POSITIONS,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "torch_dtype": "float32",
    }


def _tokenizer_config() -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": START,
        "eos_token": STOP,
        "pad_token": STOP,
        "unk_token": END,
        "clean_up_tokenization_spaces": False,
        "model_max_length": POSITIONS,
    }


def _tokenizer() -> dict[str, object]:
    """Byte-level BPE without merges, in the format of the `tokenizers` library."""
    added = [
        {"id": n, "content": word, "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        for n, word in enumerate(SPECIAL)
    ]
    vocabulary = {word: n for n, word in enumerate([*SPECIAL, *_byte_letters()])}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model: dict[str, object] = {
        "type": "BPE",
        "vocab": vocabulary,
        "merges": [],
        "dropout": None,
        "unk_token": None,
        "fuse_unk": False,
        "byte_fallback": False,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": model,
    }


def _byte_letters() -> Iterator[str]:
    """The letter by which byte-level tokenizers write each byte: itself where it is printable, else one from 256 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    for byte in range(256):
        yield chr(byte) if byte in printable else chr(next(others))


Tensor = tuple[tuple[int, ...], list[float]]


def _weights(rng: random.Random) -> Iterator[tuple[str, Tensor]]:
    def drawn(*shape: int) -> Tensor:
        return shape, [rng.gauss(0.0, 0.05) for _ in range(shape[0] * shape[1])]

    def ones() -> Tensor:
        return (HIDDEN,), [1.0] * HIDDEN

    head = HIDDEN // HEADS * KV_HEADS
    yield "model.embed_tokens.weight", drawn(VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        yield f"{at}.input_layernorm.weight", ones()
        yield f"{at}.self_attn.q_proj.weight", drawn(HIDDEN, HIDDEN)
        yield f"{at}.self_attn.k_proj.weight", drawn(head, HIDDEN)
        yield f"{at}.self_attn.v_proj.weight", drawn(head, HIDDEN)
        yield f"{at}.self_attn.o_proj.weight", drawn(HIDDEN, HIDDEN)
        yield f"{at}.post_attention_layernorm.weight", ones()
        yield f"{at}.mlp.gate_proj.weight", drawn(2 * HIDDEN, HIDDEN)
        yield f"{at}.mlp.up_proj.weight", drawn(2 * HIDDEN, HIDDEN)
        yield f"{at}.mlp.down_proj.weight", drawn(HIDDEN, 2 * HIDDEN)
    yield "model.norm.weight", ones()


def _safetensors(tensors: dict[str, Tensor]) -> bytes:
    """The format: length of the header, the header as JSON, the numbers one after the other."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, (shape, numbers) in tensors.items():
        data = struct.pack(f"<{len(numbers)}f", *numbers)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body
