"""Which rows are trained on: gates, decontamination, near-duplicates, an exact budget, and a reason for every row that is not.

Pure: a function of (rows, settings, items) and of the injected token counter. Neighbours: `gates`, `decontaminate`, `duplicates`,
`budget` decide; `msm.stages.curate` reads and writes the files. Invariants: kept + dropped = input, each in input order; the budget is
never exceeded; curating what was kept keeps all of it. Cost: linear in the text but for proposed duplicates.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from msm.errors import UserError
from msm.synth import gates
from msm.synth.budget import by_turns, fill
from msm.synth.decontaminate import EvalItem, index_items
from msm.synth.duplicates import near_duplicates
from msm.synth.gates import Drop, RowGates
from msm.synth.source import Row

CountTokens = Callable[[Sequence[str]], Sequence[int]]
"""Tokens of each text, by the base model's tokenizer."""
TOLERANCE = 0.005
"""How far below the budget the kept tokens may stay, as a share of it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is wanted of a corpus: gates, and at most one of `tokens` (exact) and `documents`; neither keeps all that pass."""

    gates: RowGates = dataclasses.field(default_factory=RowGates)
    near_duplicates: float = 0.7
    tokens: int | None = None
    documents: int | None = None


@dataclass(frozen=True, slots=True)
class Curated:
    """`kept` rows as they came; `dropped` rows with "reason" and "detail"; `stats` for stats.json."""

    kept: tuple[Row, ...]
    dropped: tuple[Row, ...]
    stats: dict[str, Any]


Stratum = tuple[str, str]
"""(genre, first assertion) of a row's provenance; "" where it has none."""


@dataclass(slots=True)
class _Sieve:
    """Rows, their tokens, and by now the reason for each that is dropped."""

    rows: Sequence[Row]
    tokens: Sequence[int]
    drops: dict[int, Drop]

    @property
    def left(self) -> list[int]:
        return [number for number in range(len(self.rows)) if number not in self.drops]

    @property
    def left_tokens(self) -> int:
        return sum(self.tokens[number] for number in self.left)


def curate(
    rows: Sequence[Row], settings: Settings, items: Iterable[EvalItem], count_tokens: CountTokens, field: str = "corpora"
) -> Curated:
    """Judge all rows; `field` names the corpus in errors.

    Raises:
        UserError: no row, none left, or fewer than the budget wants; says how many there were and what to raise.
    """
    if not rows:
        raise UserError(field, "has 0 rows, at least one is needed", "name another source, or ask for more documents")
    sieve = _Sieve(rows, count_tokens([str(row["text"]) for row in rows]), {})
    _judge_rows(sieve, settings.gates)
    _decontaminate(sieve, items)
    _deduplicate(sieve, settings.near_duplicates)
    if not sieve.left:
        raise UserError(field, f"has no row left of {len(rows)} ({_reasons(sieve)})", "loosen quality, or supply other rows")
    passed = set(sieve.left)
    _budget(sieve, settings, field)
    kept = tuple(rows[number] for number in sieve.left)
    dropped = tuple({**rows[n], "reason": drop.reason, "detail": drop.detail} for n, drop in sorted(sieve.drops.items()))
    return Curated(kept, dropped, _stats(sieve, settings, passed))


def _judge_rows(sieve: _Sieve, row_gates: RowGates) -> None:
    for number, row in enumerate(sieve.rows):
        if drop := row_gates.judge(row, sieve.tokens[number]):
            sieve.drops[number] = drop


def _decontaminate(sieve: _Sieve, items: Iterable[EvalItem]) -> None:
    index = index_items(items)
    for number in sieve.left:
        if match := index.match(str(sieve.rows[number]["text"])):
            sieve.drops[number] = Drop(gates.CONTAMINATED, str(match))


def _deduplicate(sieve: _Sieve, threshold: float) -> None:
    left = sieve.left
    repeats = near_duplicates([str(sieve.rows[number]["text"]) for number in left], threshold)
    for number, repeated in zip(left, repeats, strict=True):
        if repeated is not None:
            sieve.drops[number] = Drop(gates.NEAR_DUPLICATE, f"of {sieve.rows[left[repeated]]['id']}")


def _budget(sieve: _Sieve, settings: Settings, field: str) -> None:
    if settings.tokens is not None:
        chosen = _within_tokens(sieve, settings.tokens, field)
    elif settings.documents is not None:
        chosen = _within_documents(sieve, settings.documents, field)
    else:
        return
    for number in set(sieve.left) - chosen:
        sieve.drops[number] = Drop(gates.OVER_BUDGET)


def _within_tokens(sieve: _Sieve, budget: int, field: str) -> set[int]:
    left, least = sieve.left, budget * (1 - TOLERANCE)
    if sieve.left_tokens < least:
        raise _too_few(sieve, f"{field}.tokens", f"{sieve.left_tokens} tokens", budget)
    sizes = [sieve.tokens[number] for number in left]
    chosen = {left[place] for place in fill(sizes, by_turns([stratum(sieve.rows[number]) for number in left]), budget)}
    total = sum(sieve.tokens[number] for number in chosen)
    if total < least:
        problem = f"is {budget}, no choice of the {len(left)} rows comes nearer than {total} tokens from below"
        raise UserError(f"{field}.tokens", problem, f"set tokens: {total}, or supply shorter documents")
    return chosen


def _within_documents(sieve: _Sieve, wanted: int, field: str) -> set[int]:
    left = sieve.left
    if len(left) < wanted:
        raise _too_few(sieve, f"{field}.documents", f"{len(left)} documents", wanted)
    return {left[place] for place in by_turns([stratum(sieve.rows[number]) for number in left])[:wanted]}


def _too_few(sieve: _Sieve, field: str, there: str, wanted: int) -> UserError:
    problem = f"is {wanted}, but only {there} are left of {len(sieve.rows)} rows with {sum(sieve.tokens)} tokens ({_reasons(sieve)})"
    fix = "reword the eval items or the spec, so that they share no words; " if _worst(sieve) else ""
    return UserError(field, problem, f"{fix}ask for less, loosen quality, or give more: assertions of the spec, or source rows")


def _reasons(sieve: _Sieve) -> str:
    counts = Counter(drop.reason for drop in sieve.drops.values())
    listed = ", ".join(f"{reason}: {counts[reason]}" for reason in gates.REASONS if counts[reason]) or "none dropped"
    worst = _worst(sieve)
    return f"{listed}; eval items met most: {worst}" if worst else listed


def _worst(sieve: _Sieve) -> str:
    return most_met(drop.detail for drop in sieve.drops.values() if drop.reason == gates.CONTAMINATED)


def contamination(rows: Sequence[Row], items: Iterable[EvalItem]) -> tuple[int, str]:
    """How many rows hold words of eval items, and which words most; before any other gate."""
    index = index_items(items)
    found = [str(match) for row in rows if (match := index.match(str(row["text"]))) is not None]
    return len(found), most_met(found)


def most_met(matches: Iterable[str], most: int = 4) -> str:
    """The matches that occur most often, for people; empty without one."""
    return ", ".join(f"{match} ({times})" for match, times in Counter(matches).most_common(most))


def stratum(row: Row) -> Stratum:
    """What a budget is spread over: genre and first assertion, as the author recorded them."""
    provenance = row.get("provenance") or {}
    assertions = provenance.get("assertions") or [provenance.get("assertion", "")]
    return str(provenance.get("genre", provenance.get("docType", ""))), str(assertions[0]) if isinstance(assertions, list) else str(
        assertions
    )


def _stats(sieve: _Sieve, settings: Settings, passed: set[int]) -> dict[str, Any]:
    counts = Counter(drop.reason for drop in sieve.drops.values())
    judged = len(passed) + counts[gates.NEAR_DUPLICATE]
    return {
        "documents": len(sieve.left),
        "tokens": sieve.left_tokens,
        "budget": {"tokens": settings.tokens, "documents": settings.documents, "missing": _missing(sieve, settings)},
        "input": {"documents": len(sieve.rows), "tokens": sum(sieve.tokens)},
        "dropped": {reason: counts[reason] for reason in gates.REASONS if counts[reason]},
        "nearDuplicateRate": counts[gates.NEAR_DUPLICATE] / judged,
        "strata": _strata(sieve, passed),
    }


def _missing(sieve: _Sieve, settings: Settings) -> int:
    """Tokens by which the nearest choice stays below the budget; 0 when it is exact."""
    return 0 if settings.tokens is None else settings.tokens - sieve.left_tokens


def _strata(sieve: _Sieve, passed: set[int]) -> list[dict[str, Any]]:
    """One line a stratum: rows and tokens kept, rows that passed the gates."""
    available = Counter(stratum(sieve.rows[number]) for number in passed)
    documents, tokens = Counter[Stratum](), Counter[Stratum]()
    for number in sieve.left:
        documents[stratum(sieve.rows[number])] += 1
        tokens[stratum(sieve.rows[number])] += sieve.tokens[number]
    return [
        {"genre": key[0], "assertion": key[1], "documents": documents[key], "tokens": tokens[key], "available": available[key]}
        for key in sorted(available)
    ]
