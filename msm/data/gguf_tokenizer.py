"""The byte-level BPE tokenizer inside a GGUF file, as tokenizer.json and its companions.

Neighbours: `gguf_model` calls; `tokens` reads the result. Invariants: digits are split one by one where the model was trained so (the step
that loaders lose), nothing is prepended (bos is the chat template's matter), and the class name loads in every transformers release.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msm.errors import UserError

if TYPE_CHECKING:
    from msm.data.gguf_model import Fields

CONTROL, USER_DEFINED = 3, 4
"""Token types that are matched whole before anything else; control tokens are also special."""
DIGITS_APART = {"smollm": True, "gpt-2": False}
"""GGUF's names of pre-tokenizers that are understood -> whether each digit stands alone."""


def write_tokenizer(fields: "Fields", into: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and, when there is one, chat_template.jinja."""
    tokens: list[str] = fields.get("tokenizer.ggml.tokens")
    _write(into / "tokenizer.json", json.dumps(tokenizer(fields), ensure_ascii=False))
    _write(into / "tokenizer_config.json", json.dumps(_config(fields, tokens), indent=2, ensure_ascii=False) + "\n")
    if template := fields.get("tokenizer.chat_template", ""):
        _write(into / "chat_template.jinja", template)


def tokenizer(fields: "Fields") -> dict[str, Any]:
    """The contents of tokenizer.json; UserError for a kind of tokenizer that is not understood."""
    model, pre = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre", "")
    if model != "gpt2" or pre not in DIGITS_APART:
        known = ", ".join(DIGITS_APART)
        problem = f"has a tokenizer {model!r} with pre-tokenizer {pre!r}; byte-level BPE ('gpt2') with {known} is understood"
        raise UserError(fields.where, problem, "use the model's Hugging Face repository")
    tokens: list[str] = fields.get("tokenizer.ggml.tokens")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(tokens, fields.get("tokenizer.ggml.token_type")),
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(DIGITS_APART[pre]),
        "post_processor": None,
        "decoder": _byte_level(prefix_space=True),
        "model": _bpe(tokens, fields.get("tokenizer.ggml.merges")),
    }


def _added(tokens: list[str], types: list[int]) -> list[dict[str, Any]]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    pairs = zip(tokens, types, strict=True)
    return [{"id": n, "content": t, **flags, "special": k == CONTROL} for n, (t, k) in enumerate(pairs) if k in (CONTROL, USER_DEFINED)]


def _pre_tokenizer(digits_apart: bool) -> dict[str, Any]:
    steps = [{"type": "Digits", "individual_digits": True}] if digits_apart else []
    return {"type": "Sequence", "pretokenizers": [*steps, _byte_level(prefix_space=False)]}


def _byte_level(*, prefix_space: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": True, "use_regex": True}


def _bpe(tokens: list[str], merges: list[str]) -> dict[str, Any]:
    absent = {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return {"type": "BPE", **absent, "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary, "merges": merges}


def _config(fields: "Fields", tokens: list[str]) -> dict[str, Any]:
    """tokenizer_config.json: a class that every transformers release loads with the file's own pre-tokenizer."""
    end = int(fields.get("tokenizer.ggml.eos_token_id"))
    named = {"bos": ("bos", end), "eos": ("eos", end), "pad": ("padding", end), "unk": ("unknown", end)}
    ids = {f"{key}_token": tokens[int(fields.get(f"tokenizer.ggml.{field}_token_id", default))] for key, (field, default) in named.items()}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **ids,
        "clean_up_tokenization_spaces": False,
        "model_max_length": int(fields.get("llama.context_length")),
    }


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
