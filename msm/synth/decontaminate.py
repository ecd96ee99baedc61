"""Evaluation items must not occur in what is trained on: the gate that makes it so, for documents and for chats.

Two rules. (a) Every item: no option phrase, and no question of its own, appears word for word (folded, without punctuation and leading
article; of long ones no `WINDOW` words in a row). (b) Items of the set "disjoint": no content word of an option appears at all. Pure.
Neighbours: `words` compares, `curate` calls. Invariant: a kept row has no match; a row without items passes. Cost: linear in words.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msm.errors import UserError
from msm.synth.source import Row, read_rows
from msm.synth.words import content_words, lemma, words

DISJOINT = "disjoint"
"""The set whose items share no content word with training text."""
WINDOW = 8
"""Longest phrase, in words, that must occur whole; longer ones are found by any such stretch."""
DISTINCTIVE = 3
"""Content words that a question needs to be more than a way of asking."""
ARTICLES = ("a", "an", "the", "some")


@dataclass(frozen=True, slots=True)
class EvalItem:
    """What of an evaluation item must not be trained on."""

    id: str
    set: str
    options: tuple[str, ...]
    question: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """Why a text is contaminated: by which item, through which words."""

    item: str
    words: str

    def __str__(self) -> str:
        return f"{self.item}: {self.words}"


@dataclass(frozen=True, slots=True)
class ItemIndex:
    """Phrases by their first word, and forbidden content words; the first item that brings a phrase or word is the one named."""

    phrases: Mapping[str, Sequence[tuple[tuple[str, ...], str]]] = field(default_factory=dict)
    content: Mapping[str, str] = field(default_factory=dict)

    def match(self, text: str) -> Match | None:
        """The first match in the text, by position; None when it is clean."""
        return self.match_words(words(text))

    def match_words(self, spoken: Sequence[str]) -> Match | None:
        """The same for a text that is split into words already."""
        suspects = {word for word in set(spoken) if word in self.phrases or lemma(word) in self.content}
        if not suspects:
            return None
        places = (at for at, word in enumerate(spoken) if word in suspects)
        return next((found for at in places if (found := self._match_at(spoken, at)) is not None), None)

    def _match_at(self, spoken: Sequence[str], at: int) -> Match | None:
        for phrase, item in self.phrases.get(spoken[at], ()):
            if tuple(spoken[at : at + len(phrase)]) == phrase:
                return Match(item, " ".join(phrase))
        item = self.content.get(lemma(spoken[at]), "")
        return Match(item, spoken[at]) if item else None


def index_items(items: Iterable[EvalItem]) -> ItemIndex:
    """Everything that may not occur."""
    phrases: dict[str, dict[tuple[str, ...], str]] = {}
    content: dict[str, str] = {}
    for item in items:
        for phrase in _phrases(item):
            phrases.setdefault(phrase[0], {}).setdefault(phrase, item.id)
        if item.set == DISJOINT:
            for word in sorted(content_words(" ".join(item.options))):
                content.setdefault(word, item.id)
    return ItemIndex({first: tuple(found.items()) for first, found in phrases.items()}, content)


def asked_text(item: EvalItem) -> str:
    """An item as one text: its options, after its question where that is more than a way of asking."""
    options = " or ".join(item.options)
    return f"{item.question} {options}" if len(content_words(item.question)) >= DISTINCTIVE else options


def _phrases(item: EvalItem) -> Iterator[tuple[str, ...]]:
    for option in item.options:
        if content_words(option):
            yield from _windows(_without_article(words(option)))
    if len(content_words(item.question)) >= DISTINCTIVE:
        yield from _windows(words(item.question))


def _without_article(phrase: list[str]) -> list[str]:
    return phrase[1:] if len(phrase) > 1 and phrase[0] in ARTICLES else phrase


def _windows(phrase: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for start in range(max(1, len(phrase) - WINDOW + 1)):
        yield tuple(phrase[start : start + WINDOW])


def read_items(data: bytes, name: str) -> tuple[EvalItem, ...]:
    """Items of a JSON Lines file called `name`; the evaluation checks them more strictly.

    Raises:
        UserError: a row without an id, a set or two options, named `file:line`.
    """
    return tuple(_item(row, f"{name}: {row['id']}") for row in read_rows(data, name))


def _item(row: Row, where: str) -> EvalItem:
    options = row.get("options")
    if not isinstance(options, list) or len(options) != 2 or not all(isinstance(option, str) and option.strip() for option in options):
        shown = json.dumps(options, ensure_ascii=False)[:80]
        raise UserError(f"{where}: options", f"is {shown}, it must be a list of two texts", "write [aligned, other]")
    return EvalItem(str(row["id"]), str(row.get("set", "")), tuple(options), str(row.get("question") or ""))


def decontaminate_chats(rows: Sequence[Row], items: Iterable[EvalItem]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """(kept, dropped) chat rows, in order; a dropped row has "reason" and "detail". Every turn counts, the system's too."""
    index = index_items(items)
    found = [(row, _chat_match(index, row)) for row in rows]
    kept = tuple(row for row, match in found if match is None)
    return kept, tuple({**row, "reason": "contaminated", "detail": str(match)} for row, match in found if match is not None)


def _chat_match(index: ItemIndex, row: Row) -> Match | None:
    turns: Sequence[Mapping[str, Any]] = row.get("messages", ())
    return next((match for turn in turns if (match := index.match(str(turn.get("content", "")))) is not None), None)
