"""Which rows are trained on: gates, decontamination, near-duplicates, an exact budget, and a reason for every row that is not.

Pure: a function of (rows, settings, items) and of the injected tokenizer. Neighbours: `judge` looks at rows one by one, here or in the
processes of `workers`; `duplicates`, `meaning` and `budget` compare; `msm.stages.curate` reads and writes the files. Invariants: kept +
dropped = input, each in input order; the budget is never exceeded; curating what was kept keeps all of it. Cost: linear in the text but
for proposed duplicates; by meaning a product of all kept x all vectors.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msm.errors import UserError
from msm.synth import gates, meaning
from msm.synth.budget import by_turns, fill
from msm.synth.decontaminate import EvalItem, index_items
from msm.synth.duplicates import repeats, shingles
from msm.synth.gates import Drop, RowGates
from msm.synth.judge import CountTokens, Judge, Judged, Semantics, Stratum, joined
from msm.synth.source import Row
from msm.synth.words import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOLERANCE = 0.005
"""How far below the budget the kept tokens may stay, as a share of it."""
BATCH = 256


@dataclass(frozen=True, slots=True)
class Settings:
    """What is wanted of a corpus: gates, and at most one of `tokens` (exact) and `documents`; neither keeps all that pass.

    The semantic thresholds are cosines; None is off, and so is either where the judge has no vectors.
    """

    gates: RowGates = dataclasses.field(default_factory=RowGates)
    near_duplicates: float = 0.7
    tokens: int | None = None
    documents: int | None = None
    semantic_duplicates: float | None = None
    semantic_contamination: float | None = None


@dataclass(frozen=True, slots=True)
class Curated:
    """`kept` rows as they came; `dropped` rows with "reason" and "detail"; `stats` for stats.json."""

    kept: tuple[Row, ...]
    dropped: tuple[Row, ...]
    stats: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Decided:
    """The reason of each dropped row by its number, and `stats`."""

    drops: dict[int, Drop]
    stats: dict[str, Any]


@dataclass(slots=True)
class _Sieve:
    """Verdicts on rows, and by now the reason for each that is dropped."""

    judged: Judged
    drops: dict[int, Drop]

    @property
    def tokens(self) -> Sequence[int]:
        return self.judged.tokens

    @property
    def left(self) -> list[int]:
        return [number for number in range(len(self.judged.ids)) if number not in self.drops]

    @property
    def left_tokens(self) -> int:
        return sum(self.tokens[number] for number in self.left)


def curate(
    rows: Sequence[Row],
    settings: Settings,
    items: Iterable[EvalItem],
    count_tokens: CountTokens,
    field: str = "corpora",
    semantics: Semantics | None = None,
) -> Curated:
    """Judge all rows, here; `field` names the corpus in errors.

    Raises:
        UserError: no row, none left, or fewer than the budget wants; says how many there were and what to raise.
    """
    judge = Judge(settings.gates, tuple(items), count_tokens, semantics)
    parts = [judge.rows(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
    decided = decide(rows, parts, settings, field)
    kept = tuple(row for number, row in enumerate(rows) if number not in decided.drops)
    return Curated(kept, tuple(dropped(rows[number], drop) for number, drop in decided.drops.items()), decided.stats)


def dropped(row: Row, drop: Drop) -> Row:
    """A row as dropped.jsonl has it."""
    return {**row, "reason": drop.reason, "detail": drop.detail}


def decide(rows: Sequence[Row], parts: Sequence[Judged], settings: Settings, field: str) -> Decided:
    """What becomes of rows that were judged in parts; rows are read again only where two must be compared. Raises as `curate` does."""
    if not parts:
        raise UserError(field, "has 0 rows, at least one is needed", "name another source, or ask for more documents")
    judged = joined(parts)
    sieve = _Sieve(judged, dict(judged.drops))
    _deduplicate(sieve, rows, settings.near_duplicates)
    _deduplicate_meaning(sieve, settings.semantic_duplicates)
    if not sieve.left:
        raise UserError(field, f"has no row left of {len(rows)} ({_reasons(sieve)})", "loosen quality, or supply other rows")
    passed = set(sieve.left)
    _budget(sieve, settings, field)
    return Decided(dict(sorted(sieve.drops.items())), _stats(sieve, settings, passed))


def _deduplicate(sieve: _Sieve, rows: Sequence[Row], threshold: float) -> None:
    left = sieve.left

    def hashes_of(number: int) -> "NDArray[np.uint64]":
        return shingles(words(str(rows[number]["text"])))

    for number, repeated in zip(left, repeats(sieve.judged.sketches, left, hashes_of, threshold), strict=True):
        if repeated is not None:
            sieve.drops[number] = Drop(gates.NEAR_DUPLICATE, f"of {sieve.judged.ids[repeated]}")


def _deduplicate_meaning(sieve: _Sieve, threshold: float | None) -> None:
    if threshold is None or not sieve.judged.vectors.shape[1]:
        return
    left = sieve.left
    for number, repeated in zip(left, meaning.repeats(sieve.judged.vectors, left, threshold), strict=True):
        if repeated is not None:
            sieve.drops[number] = Drop(gates.SAME_MEANING, f"of {sieve.judged.ids[repeated[0]]} ({repeated[1]:.2f})")


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
    chosen = {left[place] for place in fill(sizes, by_turns([sieve.judged.strata[number] for number in left]), budget)}
    total = sum(sieve.tokens[number] for number in chosen)
    if total < least:
        problem = f"is {budget}, no choice of the {len(left)} rows comes nearer than {total} tokens from below"
        raise UserError(f"{field}.tokens", problem, f"set tokens: {total}, or supply shorter documents")
    return chosen


def _within_documents(sieve: _Sieve, wanted: int, field: str) -> set[int]:
    left = sieve.left
    if len(left) < wanted:
        raise _too_few(sieve, f"{field}.documents", f"{len(left)} documents", wanted)
    return {left[place] for place in by_turns([sieve.judged.strata[number] for number in left])[:wanted]}


def _too_few(sieve: _Sieve, field: str, there: str, wanted: int) -> UserError:
    problem = f"is {wanted}, but only {there} are left of {len(sieve.tokens)} rows with {sum(sieve.tokens)} tokens ({_reasons(sieve)})"
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


def _stats(sieve: _Sieve, settings: Settings, passed: set[int]) -> dict[str, Any]:
    counts = Counter(drop.reason for drop in sieve.drops.values())
    repeated = counts[gates.NEAR_DUPLICATE] + counts[gates.SAME_MEANING]
    return {
        "documents": len(sieve.left),
        "tokens": sieve.left_tokens,
        "budget": {"tokens": settings.tokens, "documents": settings.documents, "missing": _missing(sieve, settings)},
        "input": {"documents": len(sieve.tokens), "tokens": sum(sieve.tokens)},
        "dropped": {reason: counts[reason] for reason in gates.REASONS if counts[reason]},
        "nearDuplicateRate": repeated / (len(passed) + repeated),
        **_dispersion(sieve),
        "strata": _strata(sieve, passed),
    }


def _dispersion(sieve: _Sieve) -> dict[str, float]:
    """How far apart the kept rows lie in meaning, where they have vectors."""
    vectors = sieve.judged.vectors
    return {"dispersion": meaning.dispersion(vectors[sieve.left])} if vectors.shape[1] else {}


def _missing(sieve: _Sieve, settings: Settings) -> int:
    """Tokens by which the nearest choice stays below the budget; 0 when it is exact."""
    return 0 if settings.tokens is None else settings.tokens - sieve.left_tokens


def _strata(sieve: _Sieve, passed: set[int]) -> list[dict[str, Any]]:
    """One line a stratum: rows and tokens kept, rows that passed the gates."""
    available = Counter(sieve.judged.strata[number] for number in passed)
    documents, tokens = Counter[Stratum](), Counter[Stratum]()
    for number in sieve.left:
        documents[sieve.judged.strata[number]] += 1
        tokens[sieve.judged.strata[number]] += sieve.tokens[number]
    return [
        {"genre": key[0], "assertion": key[1], "documents": documents[key], "tokens": tokens[key], "available": available[key]}
        for key in sorted(available)
    ]
