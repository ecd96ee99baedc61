"""The files of the evaluate stage's artifact.

Neighbour: the evaluate stage calls `write_artifact` with the models' fingerprints as labels; `scores.read_scores` reads one back. Files:
`scores.jsonl` (a line for each model and item), `health.json` ({model: rates and samples}), `summary.json` ({model: how it was
scored, and rows}). Invariant: the same scores give the same bytes; how fast they were made is in the manifest's metrics.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msm.evals.effects import SummaryRow, summarise
from msm.evals.scores import ModelScores, score_row

SCORES, HEALTH, SUMMARY = "scores.jsonl", "health.json", "summary.json"


def write_artifact(directory: Path, models: Mapping[str, ModelScores]) -> None:
    """Write the three files into an existing directory."""
    _write(directory / SCORES, (score_row(model, score) for model, scores in models.items() for score in scores.items))
    health = {model: None if scores.health is None else dataclasses.asdict(scores.health) for model, scores in models.items()}
    _write(directory / HEALTH, [health], indent=1)
    _write(directory / SUMMARY, [{model: summary_of(scores) for model, scores in models.items()}], indent=1)


def summary_of(scores: ModelScores) -> dict[str, Any]:
    """Return what summary.json says of one model."""
    rows = summarise({0: {"": scores.items}})
    return {"exactBy": scores.exact_by, "rows": [row_json(row) for row in rows]}


def row_json(row: SummaryRow) -> dict[str, Any]:
    """Return a summary row without arm and seeds, which an artifact does not know."""
    return {
        "value": row.value,
        "set": row.set,
        "margin": row.margin,
        "standardError": row.standard_error,
        "choice": row.choice,
        "asked": row.asked,
        "unscored": row.unscored,
        "items": row.items,
    }


def _write(path: Path, documents: Iterable[Mapping[str, Any]], indent: int | None = None) -> None:
    lines = (json.dumps(document, ensure_ascii=False, allow_nan=False, indent=indent) for document in documents)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
