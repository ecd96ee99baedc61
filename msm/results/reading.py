"""What a corpus is like as a whole, for the report and its dataset card: how it reads, what it covers, what a judge thought, who wrote it.

Neighbours: `corpus` opens one, `msm.synth.diversity` measures, `learned` puts the result into the report. Invariants: numbers rest on
the committed rows alone; what nobody recorded is None or empty and never guessed. Cost: a few seconds a corpus, mostly for its sameness.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from msm.plan import Plan, Stage
from msm.report.parts import Coverage, Reading, ScoreLine, Statement, Written
from msm.results.artifacts import Artifacts
from msm.results.corpus import Corpus

GENRES = 12
"""Genres that a coverage tells apart."""
STATEMENTS = 400
"""Statements that it lists."""


def reading_of(corpus: Corpus) -> Reading | None:
    """How the kept documents read; None without any."""
    if not corpus.kept:
        return None
    found = corpus.diversity
    return Reading(
        measured=found.measured,
        words=found.lengths,
        names=found.names,
        attributes=found.attributes,
        self_bleu=found.self_bleu,
        compression=found.compression,
        distinct_bigrams=found.distinct_bigrams,
        top_opening=found.top_opening,
        tics=found.tics,
        dispersion=corpus.stats.get("dispersion"),
    )


def coverage_of(corpus: Corpus) -> Coverage | None:
    """Statements by genre; None where the author recorded neither."""
    counts = corpus.coverage
    if not counts:
        return None
    totals = Counter[str]()
    for genres in counts.values():
        totals.update(genres)
    columns = tuple(genre for genre, _ in totals.most_common(GENRES))
    known = list(dict.fromkeys([*corpus.statements, *counts]))
    lines = (_statement(name, corpus.statements.get(name, name), counts.get(name, {}), columns) for name in known[:STATEMENTS])
    return Coverage(genres=columns, statements=tuple(lines))


def _statement(identity: str, name: str, genres: dict[str, int], columns: Sequence[str]) -> Statement:
    return Statement(id=identity, name=name, documents=sum(genres.values()), genres=tuple(genres.get(genre, 0) for genre in columns))


def scores_of(rows: Iterable[dict[str, Any]]) -> tuple[ScoreLine, ...]:
    """A judge's scores of kept documents, axis by axis."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for axis, score in ((row.get("provenance") or {}).get("scores") or {}).items():
            found.setdefault(axis, []).append(float(score))
    return tuple(_line(axis, values) for axis, values in found.items())


def _line(axis: str, values: list[float]) -> ScoreLine:
    low, median = (float(np.percentile(values, share)) for share in (5, 50))
    return ScoreLine(axis=axis, low=low, median=median, mean=float(np.mean(values)), documents=len(values))


def author_of(corpus: Corpus, plan: Plan, curate: Stage, artifacts: Artifacts) -> Written | None:
    """Who wrote it, if a language model did; calls are those of its outline and its documents."""
    models = [str(model) for row in corpus.kept if (model := (row.get("provenance") or {}).get("model"))]
    if curate.params.get("synthesised") is not True or not models:
        return None
    written = [plan.stage(ref) for ref in curate.inputs["rows"]]
    refs = [ref for stage in written for ref in (stage.ref, *stage.inputs.get("outline", ())) if ref in artifacts]
    metrics = [artifacts.manifest(ref).metrics for ref in refs]
    counts = {name: int(sum(found.get(name, 0) for found in metrics)) for name in ("calls", "promptTokens", "completionTokens", "failures")}
    return Written(
        model=models[0],
        calls=counts["calls"],
        prompt_tokens=counts["promptTokens"],
        completion_tokens=counts["completionTokens"],
        failures=counts["failures"],
        rewritten=sum(row["provenance"].get("rewritten") is True for row in corpus.kept),
    )
