"""What one model makes of the items, as values and as the lines of the evaluate stage's artifact.

Pure but for `read_scores`. Neighbours: `preference` produces, `artifact` writes, `effects` compares. Invariant: a line that is read back
gives equal values, bit for bit.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msm.errors import IntegrityError
from msm.evals.health import Health


@dataclass(frozen=True, slots=True)
class ItemScore:
    """What one model makes of one item.

    `per_order`: margins in nats with the aligned option named first, then second; `margin`: their mean. `margin_per_token`: the same with
    each answer's log-probability divided by its number of tokens. `choice`: share of the two orders in which the greedy answer chose the
    aligned option (0, .5, 1), None when an answer could not be read or none was asked for; `answers`: those answers, None if not asked.
    """

    id: str
    value: str
    set: str
    domain: str
    margin: float
    margin_per_token: float
    per_order: tuple[float, float]
    choice: float | None
    answers: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class ModelScores:
    """All that one model's evaluation gave.

    `items_per_second` counts scoring alone, not loading or answering; `exact_by` is "tree" (shared prefixes) or "alone" (the slow way, for
    a model whose attention does not take a tree mask).
    """

    items: tuple[ItemScore, ...]
    health: Health | None
    items_per_second: float
    exact_by: str


def score_row(model: str, score: ItemScore) -> dict[str, Any]:
    """Return one line of scores.jsonl."""
    return {
        "model": model,
        "id": score.id,
        "value": score.value,
        "set": score.set,
        "domain": score.domain,
        "margin": score.margin,
        "marginPerToken": score.margin_per_token,
        "perOrder": list(score.per_order),
        "choice": score.choice,
        "answers": None if score.answers is None else list(score.answers),
    }


def parse_row(row: Mapping[str, Any]) -> tuple[str, ItemScore]:
    """Return (model, score) of one line of scores.jsonl."""
    first, second = row["perOrder"]
    answers = None if row["answers"] is None else (str(row["answers"][0]), str(row["answers"][1]))
    names = (row["id"], row["value"], row["set"], row["domain"])
    return row["model"], ItemScore(*names, row["margin"], row["marginPerToken"], (first, second), row["choice"], answers)


def read_scores(path: Path) -> dict[str, tuple[ItemScore, ...]]:
    """Read scores.jsonl: model -> scores in file order; raises IntegrityError for a line that is not one."""
    found: dict[str, list[ItemScore]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").rstrip("\n").split("\n"), start=1):
        try:
            model, score = parse_row(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"{path.name}:{number}: is not a line of scores ({error})") from error
        found.setdefault(model, []).append(score)
    return {model: tuple(scores) for model, scores in found.items()}
