"""What the scores of a run's arms say: which arm is compared with which, every effect, a row for each arm, and one sentence.

Pure. Neighbours: `statistics` computes an interval, the caller knows which model belongs to which arm and seed. Invariant: the sentence
follows from the effects' numbers alone; it claims a value beyond its words only where items without those words show it.
Cost: one bootstrap for each metric and compared arm.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from msm.evals.scores import ItemScore
from msm.evals.statistics import Effect, compare

ArmScores = Mapping[int, Mapping[str, Sequence[ItemScore]]]
"""seed -> arm -> scores."""
MEASURES: Mapping[str, float] = {"margin": math.inf, "choice": 1.0}
"""Measure -> how far apart two arms can be in it."""


class ArmLike(Protocol):
    """What an arm is made of (`msm.api.run.Arm` is one)."""

    @property
    def name(self) -> str:
        """Name of the arm."""
        ...

    @property
    def midtrain(self) -> Sequence[str]:
        """Names of its corpora."""
        ...

    @property
    def finetune(self) -> Sequence[str]:
        """Names of its demonstrations."""
        ...

    @property
    def versus(self) -> Sequence[str]:
        """Names of the arms that it is compared with; empty leaves the choice to `control_of`."""
        ...


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One arm on the items of one value and set.

    `margin` in nats with its standard error: over items for one seed, over the seeds' means for several. `choice`: share of scored greedy
    answers that are aligned; `asked`: (seed, item) pairs answered, of which `unscored` could not be read.
    """

    arm: str
    value: str
    set: str
    margin: float
    standard_error: float | None
    choice: float | None
    asked: int
    unscored: int
    items: int
    seeds: int


def control_of(arm: ArmLike, arms: Sequence[ArmLike]) -> str | None:
    """Name the arm that differs from `arm` only in what is asked about: without midtraining, or for a finetune-only arm the bare base.

    The order of a list does not matter. None when the run has no such arm.
    """
    if not arm.midtrain and not arm.finetune:
        return None
    wanted = sorted(arm.finetune) if arm.midtrain else []
    return next((other.name for other in arms if not other.midtrain and sorted(other.finetune) == wanted), None)


def controls_of(arm: ArmLike, arms: Sequence[ArmLike]) -> tuple[str, ...]:
    """Name the arms that `arm` is compared with: those that it asks for, else its control."""
    control = control_of(arm, arms)
    return tuple(arm.versus) or ((control,) if control is not None else ())


def find_effects(evaluation: str, arms: Sequence[ArmLike], scores: ArmScores, confidence: float = 0.95) -> list[Effect]:
    """Compare every arm with its controls on every value and set, by margin and by choice.

    Metrics are called `<evaluation>.<value>.<set>.<measure>`.
    """
    pairs = [(arm.name, control) for arm in arms for control in controls_of(arm, arms)]
    found = [
        compare(_columns(scores, value, set_, measure), f"{evaluation}.{value}.{set_}.{measure}", arm, control, confidence, furthest)
        for value, set_ in strata(scores)
        for measure, furthest in MEASURES.items()
        for arm, control in pairs
    ]
    return [effect for effect in found if effect is not None]


def strata(scores: ArmScores) -> list[tuple[str, str]]:
    """Return the (value, set) pairs that occur, sorted by value, then "free" first and other sets by name."""
    found = {(score.value, score.set) for arms in scores.values() for rows in arms.values() for score in rows}
    return sorted(found, key=lambda stratum: (stratum[0], stratum[1] != "free", stratum[1]))


def _columns(scores: ArmScores, value: str, set_: str, measure: str) -> dict[int, dict[str, dict[str, float | None]]]:
    return {seed: {arm: _column(_stratum(rows, value, set_), measure) for arm, rows in arms.items()} for seed, arms in scores.items()}


def _column(rows: Iterable[ItemScore], measure: str) -> dict[str, float | None]:
    """Item id -> score; for the choice, the items that were asked, unscored ones as None."""
    if measure == "margin":
        return {row.id: row.margin for row in rows}
    return {row.id: row.choice for row in rows if row.answers is not None}


def _stratum(rows: Iterable[ItemScore], value: str, set_: str) -> list[ItemScore]:
    return [row for row in rows if row.value == value and row.set == set_]


def summarise(scores: ArmScores) -> list[SummaryRow]:
    """Return a row for each arm, value and set; arms in the order in which they occur."""
    arms = list(dict.fromkeys(arm for by_arm in scores.values() for arm in by_arm))
    rows = [_summary(arm, value, set_, scores) for value, set_ in strata(scores) for arm in arms]
    return [row for row in rows if row is not None]


def _summary(arm: str, value: str, set_: str, scores: ArmScores) -> SummaryRow | None:
    by_seed = [_stratum(scores[seed].get(arm, ()), value, set_) for seed in sorted(scores)]
    by_seed = [rows for rows in by_seed if rows]
    if not by_seed:
        return None
    means = [float(np.mean([row.margin for row in rows])) for rows in by_seed]
    spread = means if len(by_seed) > 1 else [row.margin for row in by_seed[0]]
    answered = [row.choice for rows in by_seed for row in rows if row.answers is not None]
    choices = [choice for choice in answered if choice is not None]
    return SummaryRow(
        arm=arm,
        value=value,
        set=set_,
        margin=float(np.mean(means)),
        standard_error=float(np.std(spread, ddof=1) / len(spread) ** 0.5) if len(spread) > 1 else None,
        choice=float(np.mean(choices)) if choices else None,
        asked=len(answered),
        unscored=len(answered) - len(choices),
        items=len({row.id for rows in by_seed for row in rows}),
        seeds=len(by_seed),
    )
