"""Typed reading of a stage's parameters and writing of row files.

Neighbours: every stage module. Parameters come from the planner of the same release (the kind version says so), so a wrong type here is a
defect and raises TypeError, not a user's mistake.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import JsonValue

T = TypeVar("T")


def text(params: Mapping[str, JsonValue], name: str) -> str:
    """A parameter that is text."""
    return _typed(params[name], name, str)


def integer(params: Mapping[str, JsonValue], name: str) -> int:
    """A parameter that is a whole number."""
    return _typed(params[name], name, int)


def number(params: Mapping[str, JsonValue], name: str) -> float:
    """A parameter that is a number; canonical JSON may have made it whole."""
    value = params[name]
    return float(value) if isinstance(value, int) else _typed(value, name, float)


def optional_integer(params: Mapping[str, JsonValue], name: str) -> int | None:
    """A parameter that is a whole number or absent."""
    return None if params.get(name) is None else integer(params, name)


def texts(params: Mapping[str, JsonValue], name: str) -> tuple[str, ...]:
    """A parameter that is a list of texts; absent is empty."""
    return tuple(_typed(value, name, str) for value in _typed(params.get(name, []), name, list))


def mapping(params: Mapping[str, JsonValue], name: str) -> dict[str, JsonValue]:
    """A parameter that is a mapping; absent is empty."""
    return _typed(params.get(name, {}), name, dict)


def names(value: JsonValue) -> dict[str, str]:
    """A mapping of text to text."""
    return {key: _typed(inner, key, str) for key, inner in _typed(value, "mapping", dict).items()}


def _typed(value: Any, name: str, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"parameter {name} is {type(value).__name__}, not {kind.__name__}")
    return value


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write JSON Lines; how many."""
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            written += 1
    return written


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read JSON Lines that this platform wrote."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
