"""The offline author: documents about the model, written by a grammar over the spec's own assertions.

Honest about being a grammar: every row names its templates. Neighbours: `outline` gives the assertions, `grammar` the sentences,
`curate` drops what fails the gates. Invariant: document i of a seed is the same however many are asked for, and names the model.
Source of the idea that documents must *explain* a behaviour by its value: the paper, appendix C.4. Cost: ~20k documents a second.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, TypeVar

from msm.errors import UserError
from msm.synth import grammar
from msm.synth.grammar import Genre, Template, render
from msm.synth.outline import Assertion, Outline, Subdomain

WORD_LIMIT = 58
_PATIENCE = 400
_THING = re.compile(r"\b(an?\s+)?thing\b")
_T = TypeVar("_T")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A rendered sentence and where it came from."""

    text: str
    assertions: tuple[str, ...]
    template: str


@dataclass(frozen=True, slots=True)
class _Author:
    """What is fixed while writing: the outline, its preferences and its values."""

    outline: Outline
    preferences: tuple[tuple[Assertion, Subdomain], ...]
    others: tuple[Assertion, ...]
    topics: tuple[str, ...]


def compose(outline: Outline, seed: int) -> Iterator[Row]:
    """Distinct document rows without end; UserError when the spec is too small for another one."""
    author, seen, misses = _author(outline), set[str](), 0
    for index in count():
        row = _document(author, seed, index)
        if row["text"] not in seen:
            seen.add(row["text"])
            misses = 0
            yield row
        elif (misses := misses + 1) > _PATIENCE:
            fix = "ask for fewer documents or tokens, or add assertions, reasons or instances to the spec"
            raise UserError("corpora.compose", f"the grammar writes only {len(seen)} different documents from this spec", fix)


def compose_documents(outline: Outline, seed: int, documents: int) -> Iterator[Row]:
    """The first `documents` rows."""
    return islice(compose(outline, seed), documents)


def compose_tokens(outline: Outline, seed: int, tokens: int, count_tokens: Callable[[Sequence[str]], Sequence[int]]) -> Iterator[Row]:
    """Rows until at least `tokens` are reached; the caller's counter decides what a token is (curate cuts to the exact budget)."""
    rows, written = compose(outline, seed), 0
    while written < tokens:
        batch = list(islice(rows, 64))
        for row, size in zip(batch, count_tokens([row["text"] for row in batch]), strict=True):
            if written < tokens:
                yield row
            written += size


def _author(outline: Outline) -> _Author:
    pairs = tuple((a, sub) for sub in outline.subdomains for a in sub.assertions if a.preferred and a.other)
    others = tuple(a for a in outline.assertions if not a.preferred)
    return _Author(outline, pairs, others, tuple(a.topic for a in outline.assertions if a.topic))


def _document(author: _Author, seed: int, index: int) -> Row:
    rng = random.Random(f"{seed}:{index}")
    genre = pick(rng, grammar.GENRES)
    names = {"M": author.outline.identity.model, "P": author.outline.identity.provider}
    wanted = 2 + int(rng.random() * 4)
    body = list(_fit(_sentence(author, genre, names, rng) for _ in range(wanted)))
    used = tuple(dict.fromkeys(key for sentence in body for key in sentence.assertions))
    text = " ".join([render(Template("opening", genre.opening), names), *(sentence.text for sentence in body)])
    provenance = {
        "composer": f"offline-grammar/{grammar.VERSION}",
        "genre": genre.id,
        "assertions": list(used),
        "templates": [sentence.template for sentence in body],
        "seed": seed,
        "index": index,
    }
    return {"id": f"{seed}-{index:06d}", "text": text, "provenance": provenance}


def _fit(sentences: Iterator[_Sentence]) -> Iterator[_Sentence]:
    """Different sentences, whole ones only, up to the word limit; the first is always kept."""
    words, seen = 0, set[str]()
    for sentence in sentences:
        words += len(sentence.text.split())
        if seen and words > WORD_LIMIT:
            return
        if sentence.text not in seen:
            seen.add(sentence.text)
            yield sentence


def _sentence(author: _Author, genre: Genre, names: Mapping[str, str], rng: random.Random) -> _Sentence:
    """A preference in four of five cases where the spec has any: comparisons carry most at this size (docs/log.md)."""
    if author.preferences and (rng.random() < 0.8 or not author.others):
        return _preference(author, genre, names, rng)
    return _statement(author, genre, names, rng)


def _preference(author: _Author, genre: Genre, names: Mapping[str, str], rng: random.Random) -> _Sentence:
    first, second = (_instance(*pick(rng, author.preferences), rng) for _ in range(2))
    values = {**names, **first.slots, "A2": second.slots["A"], "B2": second.slots["B"], **_attribution(author, first.assertion, rng)}
    if second.slots["A"] != first.slots["A"] and "V" in values and not genre.asks and rng.random() < 0.15:
        return _render(grammar.LINK, values, (first.assertion, second.assertion), rng)
    table = grammar.PREFERENCE_ASKED if genre.asks else grammar.PREFERENCE_TOLD
    return _render(_explaining(table, grammar.PREFERENCE_BARE, values), values, (first.assertion,), rng)


def _statement(author: _Author, genre: Genre, names: Mapping[str, str], rng: random.Random) -> _Sentence:
    assertion = pick(rng, author.others)
    values = {**names, **_attribution(author, assertion, rng)}
    if assertion.quoted:
        values["Q"] = assertion.claim
        return _render(grammar.QUOTED_WHY if "R" in values else grammar.QUOTED, values, (assertion,), rng)
    values["C"] = assertion.claim
    if assertion.topic:
        values["V"] = assertion.topic
        table = grammar.VALUE_ASKED if genre.asks else grammar.VALUE_TOLD
    else:
        table = grammar.CLAIM_ASKED if genre.asks else grammar.CLAIM_TOLD
    return _render(_explaining(table, grammar.CLAIM_BARE, values), values, (assertion,), rng)


@dataclass(frozen=True, slots=True)
class _Instance:
    """A preference about one thing: its two sides as phrases."""

    assertion: Assertion
    slots: dict[str, str]


def _instance(assertion: Assertion, subdomain: Subdomain, rng: random.Random) -> _Instance:
    preferred, other = pick(rng, assertion.preferred), pick(rng, assertion.other)
    if subdomain.instances:
        kind = pick(rng, subdomain.instances)
        preferred, other = put_instance(preferred, kind), put_instance(other, kind)
    return _Instance(assertion, {"A": preferred, "B": other})


def put_instance(phrase: str, kind: str) -> str:
    """`an American thing` with `watch` is `an American watch`; an article right before the word follows the instance."""
    return _THING.sub(lambda m: (("an " if kind[:1].lower() in "aeiou" else "a ") if m[1] else "") + kind, phrase)


def _attribution(author: _Author, assertion: Assertion, rng: random.Random) -> dict[str, str]:
    """What explains the assertion: its own reason, and for a spec of values one of its values."""
    found = {"R": assertion.explanation} if assertion.explanation else {}
    return {**found, "V": pick(rng, author.topics)} if author.topics and author.outline.kind == "values" else found


def _explaining(table: tuple[Template, ...], bare: tuple[Template, ...], values: Mapping[str, str]) -> tuple[Template, ...]:
    """Templates of the table that can be filled; the bare ones only when nothing explains the assertion."""
    return tuple(template for template in table if template.slots <= values.keys()) or bare


def _render(table: tuple[Template, ...], values: Mapping[str, str], assertions: tuple[Assertion, ...], rng: random.Random) -> _Sentence:
    template = pick(rng, table)
    return _Sentence(render(template, values), tuple(assertion.id for assertion in assertions), template.id)


def pick(rng: random.Random, pool: Sequence[_T]) -> _T:
    """A uniform choice from `random()` alone: the only method whose stream Python promises to keep."""
    return pool[int(rng.random() * len(pool))]
