"""Rows to packed examples: tokenised pieces, their loss masks, and the rows they are packed into.

The one place where a stage's kind decides how text becomes tokens: midtraining learns every token of a document, fine-tuning the
assistant's. Neighbours: `rows`, `tokens`, `chat`, `packing` below; `batches` and `train` above. Invariant: no token is lost; a chat is
never cut. Cost: tokens are kept as 4-byte arrays, about 5 bytes a token with the mask.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from msm.data.chat import encode_chat, load_template
from msm.data.packing import fill, pack
from msm.data.rows import Chat, Document, read_chats, read_documents
from msm.data.tokens import TextTokenizer, load_tokenizer
from msm.errors import UserError

StageKind = Literal["midtrain", "finetune"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one document or one whole chat: `ids` int32, `learned` one byte an id (1 = the loss counts it)."""

    ids: "array[int]"
    learned: bytes

    @property
    def targets(self) -> int:
        """How many of its tokens are predicted: all that are learned but the first, which nothing precedes."""
        return sum(self.learned[1:])


@dataclass(frozen=True, slots=True)
class PackedCorpus:
    """All pieces and the rows they fill; `rows[r]` lists piece numbers."""

    pieces: tuple[Piece, ...]
    rows: tuple[tuple[int, ...], ...]
    max_length: int

    @property
    def tokens(self) -> int:
        """Tokens of one epoch."""
        return sum(len(piece.ids) for piece in self.pieces)

    @property
    def fill(self) -> float:
        """Share of the rows' places that hold a token."""
        return fill((len(piece.ids) for piece in self.pieces), len(self.rows), self.max_length)

    def row_tokens(self, row: int) -> int:
        """Tokens in a row."""
        return sum(len(self.pieces[piece].ids) for piece in self.rows[row])

    def row_targets(self, row: int) -> int:
        """Tokens in a row that the loss counts."""
        return sum(self.pieces[piece].targets for piece in self.rows[row])


def load_corpus(stage: StageKind, paths: Sequence[Path], model: Path, max_length: int) -> PackedCorpus:
    """Reads, tokenises and packs the rows of a stage; UserError names the line that cannot be used."""
    tokenizer = load_tokenizer(model)
    if stage == "midtrain":
        pieces = document_pieces(read_documents(paths), tokenizer, max_length)
    else:
        pieces = chat_pieces(read_chats(paths), tokenizer, max_length)
    return pack_pieces(pieces, max_length)


def row_lengths(stage: StageKind, paths: Sequence[Path], model: Path) -> list[int]:
    """Tokens of each row as training counts them (separator and template included), for preview."""
    tokenizer = load_tokenizer(model)
    if stage == "midtrain":
        encoded = tokenizer.encode_documents([row.text for row in read_documents(paths)])
        return [len(ids) + 1 for ids in encoded]
    template = load_template(tokenizer)
    return [len(encode_chat(chat, tokenizer, template)[0]) for chat in read_chats(paths)]


def document_pieces(documents: Sequence[Document], tokenizer: TextTokenizer, max_length: int) -> list[Piece]:
    """Every document with the separator after it, cut into pieces of at most `max_length` tokens; all tokens are learned."""
    pieces = []
    for ids in tokenizer.encode_documents([document.text for document in documents]):
        whole = array("i", [*ids, tokenizer.separator])
        for start in range(0, len(whole), max_length):
            part = whole[start : start + max_length]
            pieces.append(Piece(part, b"\x01" * len(part)))
    return pieces


def chat_pieces(chats: Iterable[Chat], tokenizer: TextTokenizer, max_length: int) -> list[Piece]:
    """Every chat as one piece; UserError for a chat longer than `max_length`, because a cut answer teaches to stop half-way."""
    template = load_template(tokenizer)
    return [_chat_piece(chat, *encode_chat(chat, tokenizer, template), max_length) for chat in chats]


def pack_pieces(pieces: Sequence[Piece], max_length: int) -> PackedCorpus:
    """Packs pieces into rows; order of rows and of pieces within them is a function of the lengths alone."""
    rows = pack([len(piece.ids) for piece in pieces], max_length)
    return PackedCorpus(tuple(pieces), tuple(tuple(sorted(row)) for row in rows), max_length)


def _chat_piece(chat: Chat, ids: list[int], learned: list[bool], max_length: int) -> Piece:
    if len(ids) > max_length:
        problem = f"the chat has {len(ids)} tokens, more than maxLength {max_length}; a chat is never cut"
        raise UserError(chat.where, problem, "raise maxLength, shorten the chat or remove the line")
    if not any(learned):
        raise UserError(chat.where, "the chat template renders no assistant token; nothing to learn", "fill the answer or remove the line")
    return Piece(array("i", ids), bytes(learned))
