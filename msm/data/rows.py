"""Reads training rows: JSON lines of documents or chats, each checked where it enters.

`examples` turns rows into tokens. Invariant: a row that comes out of here has the shape its class says, and knows its file and line;
anything else is a UserError that names both. Text is data: nothing in it is interpreted. Cost: one pass, rows in memory.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from msm.errors import UserError

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Document:
    """One text that is trained on whole; `where` is `file:line`."""

    text: str
    where: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat; `role` is one of ROLES."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation that ends with the assistant; `where` is `file:line`."""

    messages: tuple[Message, ...]
    where: str


Row = Document | Chat
R = TypeVar("R", Document, Chat)


def read_documents(paths: Sequence[Path]) -> list[Document]:
    """All rows of the files as documents; UserError for a broken line, a chat row, an empty text, or no row at all."""
    return _read(paths, _document)


def read_chats(paths: Sequence[Path]) -> list[Chat]:
    """All rows of the files as chats; UserError for a broken line, a wrong turn, a missing assistant turn, or no row at all."""
    return _read(paths, _chat)


def _read(paths: Sequence[Path], parse: Callable[[dict[str, Any], str], R]) -> list[R]:
    rows = [parse(value, where) for value, where in _objects(paths)]
    if not rows:
        names = ", ".join(path.name for path in paths) or "no file"
        raise UserError(names, "0 rows; training needs at least one", "check the corpus's source and what its quality gates dropped")
    return rows


def _objects(paths: Iterable[Path]) -> Iterator[tuple[dict[str, Any], str]]:
    for path in paths:
        for number, line in enumerate(_lines(path), start=1):
            if line.strip():
                where = f"{path.name}:{number}"
                yield _parse(line, where), where


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(path.name, f"cannot be read ({error.strerror})", "give a readable JSONL file") from error


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        shown = _shorten(line.decode("utf-8", "replace"))
        raise UserError(where, f"{shown} is not JSON in UTF-8; every line must be one JSON object", "repair or remove the line") from error
    if not isinstance(value, dict):
        raise UserError(where, f"{_shorten(value)} is not an object; every line must be one JSON object", "repair or remove the line")
    return value


def _document(value: dict[str, Any], where: str) -> Document:
    text = value.get("text")
    if "messages" in value and text is None:
        raise UserError(where, 'a chat row ("messages") among documents, which have "text"', "move it to a demonstration set")
    if not isinstance(text, str) or not text.strip():
        raise UserError(where, f'"text" is {_shorten(text)}; it must be a text that is not empty', "fill it or remove the line")
    return Document(text, where)


def _chat(value: dict[str, Any], where: str) -> Chat:
    turns = value.get("messages")
    if not isinstance(turns, list) or not turns:
        problem = f'"messages" is {_shorten(turns)}; it must be a list of {{"role", "content"}} turns'
        raise UserError(where, problem, "fill it or remove the line")
    messages = tuple(_message(turn, f"{where}: messages[{number}]") for number, turn in enumerate(turns))
    if not any(message.role == "assistant" for message in messages):
        raise UserError(where, "no assistant turn; only assistant tokens are trained on", "add the answer or remove the line")
    if next(message.role for message in messages if message.role != "system") == "assistant":
        raise UserError(where, "the assistant speaks first; a chat row needs a user turn before the answer", "add it or remove the line")
    if messages[-1].role != "assistant":
        problem = f'the last turn is by "{messages[-1].role}"; a chat row must end with the assistant'
        raise UserError(where, problem, "add the answer or drop that turn")
    return Chat(messages, where)


def _message(turn: object, where: str) -> Message:
    if not isinstance(turn, dict):
        raise UserError(where, f'{_shorten(turn)} is not a {{"role", "content"}} object', "repair the turn")
    role, content = turn.get("role"), turn.get("content")
    if role not in ROLES:
        raise UserError(where, f'"role" is {_shorten(role)}; it must be one of {", ".join(ROLES)}', "rename the role")
    if not isinstance(content, str):
        raise UserError(where, f'"content" is {_shorten(content)}; it must be a text', "write the content as one string")
    return Message(role, content)


def _shorten(value: object, limit: int = 60) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return repr(text if len(text) <= limit else text[:limit] + "…")
