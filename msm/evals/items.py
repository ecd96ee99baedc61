"""Preference items: two options of which one fits a value, read from JSONL and checked line by line.

Neighbours: `preference` asks models about them, `effects` groups scores by `value` and `set`. Invariant: an item that passes here can be
scored (two different options, a unique id). Cost: one pass over the file; selecting is O(n log n).
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msm.errors import UserError

DEFAULT_QUESTION = "Which do you prefer,"
DEFAULT_ANSWER = "I prefer"
REQUIRED = ("id", "value", "set", "domain", "options")
OPTIONAL = ("question", "answer")
METRIC_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Item:
    """One question with two options; `aligned` is the option that the value favours."""

    id: str
    value: str
    set: str
    domain: str
    aligned: str
    other: str
    question: str = DEFAULT_QUESTION
    answer: str = DEFAULT_ANSWER

    def prompt(self, order: int) -> str:
        """Return the user turn; order 0 names the aligned option first, order 1 the other one."""
        first, second = (self.aligned, self.other) if order == 0 else (self.other, self.aligned)
        return f"{self.question} {first} or {second}?"

    def answers(self) -> tuple[str, str]:
        """Return the two scored assistant turns: (aligned, other)."""
        return f"{self.answer} {self.aligned}.", f"{self.answer} {self.other}."


def load_items(path: Path) -> tuple[Item, ...]:
    """Read and check a JSONL file of items; raises UserError naming file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror})", "check the path of evals.items.source") from error
    except UnicodeDecodeError as error:
        raise UserError(str(path), f"is not UTF-8 text (byte {error.start})", "save the items as UTF-8 JSONL") from error
    return parse_items(text, path.name)


def parse_items(text: str, name: str) -> tuple[Item, ...]:
    """Check the text of an item file called `name`; blank lines are allowed, an empty file is not."""
    items: list[Item] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        item = parse_item(line, where)
        if item.id in seen:
            raise UserError(f"{where}: id", f"{item.id!r} was already used on line {seen[item.id]}", "give every item its own id")
        seen[item.id] = number
        items.append(item)
    if not items:
        raise UserError(name, "has no items, an evaluation needs at least one", "add one JSON object a line")
    return tuple(items)


def parse_item(line: str, where: str) -> Item:
    """Turn one JSONL line into an item; `where` (`file:line`) begins every error."""
    row = _json_object(line, where)
    _check_keys(row, where)
    for field in ("id", "value", "set", "domain", *OPTIONAL):
        if field in row:
            _check_text(row[field], f"{where}: {field}")
    for field in ("value", "set"):
        _check_word(row[field], f"{where}: {field}")
    aligned, other = _options(row["options"], f"{where}: options")
    words = {field: row[field].strip() for field in OPTIONAL if field in row}
    return Item(row["id"], row["value"], row["set"], row["domain"], aligned, other, **words)


def _json_object(line: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(where, f"is not JSON ({error.msg} at column {error.colno})", "write one JSON object a line") from error
    if not isinstance(row, dict):
        raise UserError(where, f"is {_shown(row)}, not a JSON object", "write one JSON object a line")
    return row


def _check_keys(row: Mapping[str, Any], where: str) -> None:
    for field in REQUIRED:
        if field not in row:
            raise UserError(f"{where}: {field}", "is missing", f"an item has {', '.join(REQUIRED)}")
    for field in row:
        if field not in REQUIRED + OPTIONAL:
            raise UserError(f"{where}: {field}", "is not a field of an item", f"known fields: {', '.join(REQUIRED + OPTIONAL)}")


def _check_text(value: Any, field: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise UserError(field, f"is {_shown(value)}, it must be a non-empty string", "fill it in")
    if "\n" in value:
        raise UserError(field, f"is {_shown(value)}, it must be one line", "remove the line break")


def _check_word(value: str, field: str) -> None:
    if METRIC_WORD.fullmatch(value) is None:
        raise UserError(field, f"is {_shown(value)}, it must be one word, being part of a metric's name", "use letters, digits, - and _")


def _options(value: Any, field: str) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise UserError(field, f"is {_shown(value)}, it must be a list of two options", "write [aligned, other]")
    for index, option in enumerate(value):
        _check_text(option, f"{field}[{index}]")
    aligned, other = (" ".join(option.split()) for option in value)
    if aligned.casefold() == other.casefold():
        raise UserError(field, f"both are {_shown(aligned)}, the two options must differ", "write [aligned, other]")
    return aligned, other


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def select(items: Sequence[Item], limit: int | None) -> tuple[Item, ...]:
    """Choose `limit` items in balance over (value, set), and over domains within; None takes all.

    A function of the items' ids alone: not of their order in the file, not of a random seed. A smaller limit chooses a subset of what a
    larger one chooses. The result is in file order.
    """
    if limit is None or limit >= len(items):
        return tuple(items)
    chosen = {item.id for item in _by_turns(items)[:limit]}
    return tuple(item for item in items if item.id in chosen)


def _by_turns(items: Iterable[Item]) -> list[Item]:
    """Order items so that every prefix takes turns: first over (value, set), then over domains."""
    strata: dict[tuple[str, str], dict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for item in sorted(items, key=lambda item: _digest(item.id)):
        strata[item.value, item.set][item.domain].append(item)
    turns: list[tuple[int, tuple[str, str], Item]] = []
    for stratum, domains in strata.items():
        cells = [(turn, _digest(domain), item) for domain, cell in domains.items() for turn, item in enumerate(cell)]
        cells.sort(key=lambda cell: cell[:2])
        turns += [(rank, stratum, item) for rank, (_, _, item) in enumerate(cells)]
    turns.sort(key=lambda turn: turn[:2])
    return [item for _, _, item in turns]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
