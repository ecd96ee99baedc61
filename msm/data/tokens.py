"""A model's tokenizer without transformers: ids for documents, rendered chats with the characters each token covers.

Built on the `tokenizers` library alone (imported here at use: 0.1 s, no torch), so that preview counts with the very code that
training uses. Invariant: no text of a document can become a control token; nothing is prepended (bos is the chat template's matter).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msm.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DOCUMENT_SEPARATOR = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class Encoded:
    """Ids of one text and, per id, the half-open range of characters it covers."""

    ids: list[int]
    spans: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """A model directory's tokenizer: `separator` ends documents, `special` are the control tokens (text -> id)."""

    plain: "Tokenizer"
    control: "Tokenizer"
    separator: int
    special: Mapping[str, int]
    variables: Mapping[str, str]
    template: str | None

    def encode_documents(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of every text, control tokens inside a text spelled out as ordinary text, without the separator."""
        return [encoding.ids for encoding in self.plain.encode_batch(list(texts), add_special_tokens=False)]

    def encode_rendered(self, text: str) -> Encoded:
        """Ids and character ranges of a rendered chat, in which control tokens are meant."""
        encoding = self.control.encode(text, add_special_tokens=False)
        return Encoded(encoding.ids, encoding.offsets)


def load_tokenizer(model: Path) -> TextTokenizer:
    """The tokenizer of a Hugging Face model directory; UserError when a file is missing or has no document separator."""
    path, config = model / "tokenizer.json", _read_config(model / "tokenizer_config.json")
    plain, control = _load(path), _load(path)
    plain.encode_special_tokens = True
    special = {token.content: number for number, token in control.get_added_tokens_decoder().items() if token.special}
    variables = {key: text for key in ("bos_token", "eos_token", "pad_token", "unk_token") if (text := _token_text(config.get(key)))}
    return TextTokenizer(plain, control, _separator(control, variables, path), special, variables, _template(model, config))


def count_tokens(tokenizer_json: Path, texts: Iterable[str]) -> list[int]:
    """How many ids each text has, as a document without its separator."""
    tokenizer = _load(tokenizer_json)
    tokenizer.encode_special_tokens = True
    return [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def _load(path: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    if not path.is_file():
        raise UserError(path.name, "missing; the model directory must hold the tokenizer as one tokenizer.json", "add the file")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises bare Exception
        raise UserError(path.name, f"not a tokenizer ({error})", "replace it by the file that the model came with") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(path.name, f"not JSON ({error})", "replace it by the file that the model came with") from error
    return config if isinstance(config, dict) else {}


def _token_text(value: object) -> str:
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else ""


def _separator(tokenizer: "Tokenizer", variables: Mapping[str, str], path: Path) -> int:
    for text in (DOCUMENT_SEPARATOR, variables.get("eos_token", "")):
        number = tokenizer.token_to_id(text) if text else None
        if number is not None:
            return int(number)
    problem = f"neither {DOCUMENT_SEPARATOR} nor an eos_token is in the vocabulary; documents must end with one of them"
    raise UserError(path.name, problem, "set eos_token in tokenizer_config.json")


def _template(model: Path, config: Mapping[str, Any]) -> str | None:
    path = model / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None
