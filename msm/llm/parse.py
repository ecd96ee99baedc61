"""Finding the JSON value in what a model wrote: fences, words around it, several values, small slips, an end that is missing.

Neighbours: `shape` says which value is acceptable, `client` asks again when there is none. Invariant: text is data, nothing in it is ever
evaluated; a value is returned only when it is acceptable, strict readings go before mended ones, the last value before earlier ones, and a
value cut in the middle loses its unfinished part rather than keeping half a sentence. Cost: linear for well-formed text; json_repair
(imported only when needed) for the rest.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

Problem = Callable[[Any], str | None]
"""What is wrong with a value, None when it is acceptable."""

_FENCE = re.compile(r"```[A-Za-z0-9_+-]*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_CLOSER = {"{": "}", "[": "]"}
_MOST_SPANS, _MOST_UNCLOSED = 64, 8


class NoValue(Exception):
    """No acceptable value; the message says what was wrong with the one that came nearest."""


def read_json(text: str, problem: Problem) -> Any:
    """The last acceptable JSON value in `text`.

    Raises:
        NoValue: there is none.
    """
    first_problem: str | None = None
    for value in _values(text):
        found = problem(value)
        if found is None:
            return value
        first_problem = first_problem or found
    raise NoValue(first_problem or "there is no JSON value in it")


def _values(text: str) -> Iterator[Any]:
    """Everything that can be read as a value, the likeliest first; a bracket that never closes may have been prose, so after it as well."""
    outer, rest = _spans(text, 0)
    pieces = [text.strip(), *reversed([block.strip() for block in _FENCE.findall(text)[-_MOST_SPANS:]]), *reversed(outer[-_MOST_SPANS:])]
    for read in (_strict, _shortened, _mended):
        for piece in pieces:
            yield from read(piece)
    for _ in range(_MOST_UNCLOSED):
        if rest is None:
            return
        inner, rest = _spans(text, rest + 1)
        for piece in reversed(inner[-_MOST_SPANS:]):
            yield from _strict(piece)


def _spans(text: str, position: int) -> tuple[list[str], int | None]:
    """Outermost bracketed spans from `position` on; the last may lack its end, then where it starts."""
    spans: list[str] = []
    while (start := _opening(text, position)) is not None:
        end = _end_of_value(text, start)
        spans.append(text[start:end])
        if end is None:
            return spans, start
        position = end
    return spans, None


def _opening(text: str, position: int) -> int | None:
    places = [place for bracket in "{[" if (place := text.find(bracket, position)) >= 0]
    return min(places, default=None)


def _end_of_value(text: str, start: int) -> int | None:
    depth = 0
    for place, character in _structure(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(character, 0)
        if depth == 0:
            return place + 1
    return None


_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{},]', re.DOTALL)


def _structure(text: str, start: int = 0) -> Iterator[tuple[int, str]]:
    """Brackets and commas outside of strings, with their places."""
    for token in _TOKENS.finditer(text, start):
        if not token.group().startswith('"'):
            yield token.start(), token.group()


def _strict(piece: str) -> Iterator[Any]:
    try:
        yield _without_lone_surrogates(json.loads(piece, parse_constant=_reject))
    except (ValueError, RecursionError):
        return


def _shortened(piece: str) -> Iterator[Any]:
    for text in _cut_back(piece):
        yield from _strict(text)


def _cut_back(piece: str) -> list[str]:
    """A value whose end is missing, cut back to its last whole part at each level, the longest first; empty when nothing is missing."""
    start = _opening(piece, 0)
    if start is None or _end_of_value(piece, start) is not None:
        return []
    cuts: dict[int, tuple[int, str]] = {}
    stack: list[str] = []
    for place, character in _structure(piece, start):
        if character in _CLOSER:
            stack.append(character)
        elif character == ",":
            cuts[len(stack)] = (place, _closers(stack))
        elif stack:
            stack.pop()
            cuts[len(stack)] = (place + 1, _closers(stack))
    return [piece[start:place] + closers for place, closers in sorted(cuts.values(), reverse=True)]


def _closers(stack: list[str]) -> str:
    return "".join(_CLOSER[bracket] for bracket in reversed(stack))


def _mended(piece: str) -> Iterator[Any]:
    """What json_repair makes of it, when that is an object or an array: single quotes, missing or trailing commas, comments, literals.

    It would also close what was cut, and so keep half a sentence: it gets only what is whole or was cut back.
    """
    import json_repair

    start = _opening(piece, 0)
    if start is None:
        return
    end = _end_of_value(piece, start)
    for text in _cut_back(piece) if end is None else [piece[start:end]]:
        try:
            value = json_repair.loads(text, skip_json_loads=True)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict | list):
            yield _without_lone_surrogates(value)


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _without_lone_surrogates(value: Any) -> Any:
    """Half of a surrogate pair, which JSON can spell and UTF-8 cannot, becomes a question mark."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_without_lone_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_lone_surrogates(key): _without_lone_surrogates(item) for key, item in value.items()}
    return value
