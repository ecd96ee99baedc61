"""The scores of a run by evaluation, seed and arm, and what is computed from them: effects, means, intervals.

Neighbours: `msm.evals` compares, `findings` and `compose` show. Pure but for reading the score files. Invariant: a number is recomputed
from committed artifacts, never carried over; an evaluation that is not committed is left out. Cost: a bootstrap of 10 ms an effect of one
seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from msm.api import MSMRun
from msm.evals.artifact import SCORES
from msm.evals.conclusion import conclude
from msm.evals.effects import SummaryRow, find_effects, summarise
from msm.evals.scores import ItemScore, read_scores
from msm.evals.statistics import Effect, over_items, over_seeds
from msm.plan import Plan
from msm.report.asked import Score, SeedValue
from msm.results.artifacts import Artifacts

Scores = Mapping[int, Mapping[str, Sequence[ItemScore]]]
"""seed -> arm -> scores."""
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the committed evaluations of a run say, by the eval's name; `sentence` is what the effects mean."""

    scores: Mapping[str, Scores]
    effects: tuple[Effect, ...]
    sentence: str


def gather(run: MSMRun, plan: Plan, artifacts: Artifacts) -> Evidence:
    """Read and compare everything that is committed."""
    scores = {name: found for name in plan.evaluations if (found := _scores_of(plan, name, artifacts))}
    effects = {name: find_effects(name, run.spec.arms, found, CONFIDENCE) for name, found in scores.items()}
    sentences = [conclude(found, run.spec.arms) for found in effects.values()]
    return Evidence(scores, tuple(effect for found in effects.values() for effect in found), " ".join(sentences))


def _scores_of(plan: Plan, evaluation: str, artifacts: Artifacts) -> Scores:
    """Scores by arm; models are labelled by fingerprint in the artifact, and two arms may share one."""
    found: dict[int, dict[str, Sequence[ItemScore]]] = {}
    for seed, ref in plan.evaluations[evaluation]:
        if ref in artifacts and (path := artifacts.file(ref, SCORES)) is not None:
            by_model = read_scores(path)
            found[seed] = {m.arm: by_model[m.model.fingerprint] for m in plan.models if m.seed == seed}
    return found


def measure_of(score: ItemScore, measure: str) -> float | None:
    """A score in one measure; None when it was not asked for, or could not be read."""
    return score.margin if measure == "margin" else score.choice


def arm_scores(evaluation: str, scores: Scores) -> Iterator[Score]:
    """Every arm on every measure that it was asked for, by value and set."""
    for row in summarise(scores):
        yield _score(f"{evaluation}.{row.value}.{row.set}.margin", row, scores, row.items * row.seeds)
        if row.asked:
            yield _score(f"{evaluation}.{row.value}.{row.set}.choice", row, scores, row.asked)


def _values(rows: Sequence[ItemScore], value: str, set_: str, measure: str) -> dict[str, float]:
    """Item id -> value, of the items that have one."""
    found = {row.id: measure_of(row, measure) for row in rows if row.value == value and row.set == set_}
    return {item: number for item, number in found.items() if number is not None}


def _score(metric: str, row: SummaryRow, scores: Scores, asked: int) -> Score:
    measure = metric.rpartition(".")[2]
    found = {seed: _values(by_arm.get(row.arm, ()), row.value, row.set, measure) for seed, by_arm in sorted(scores.items())}
    by_seed = {seed: values for seed, values in found.items() if values}
    means = tuple(SeedValue(seed=seed, value=float(np.mean(list(values.values())))) for seed, values in by_seed.items())
    low, high = interval(list(by_seed.values()), is_share=measure == "choice")
    return Score(
        metric=metric,
        arm=row.arm,
        mean=float(np.mean([mean.value for mean in means])) if means else None,
        low=low,
        high=high,
        confidence=CONFIDENCE,
        over="seeds" if len(means) > 1 else "items",
        items=len(set().union(*by_seed.values())),
        asked=asked,
        unscored=row.unscored if measure == "choice" else 0,
        by_seed=means,
    )


def interval(by_seed: Sequence[Mapping[str, float]], is_share: bool) -> tuple[float | None, float | None]:
    """Ends of the interval of one arm's mean: over items for one seed (shares by Wilson's formula), over seeds' means for several.

    None where there is one number only, or none.
    """
    if not by_seed:
        return None, None
    if len(by_seed) > 1:
        _, low, high = over_seeds([np.array(list(values.values())) for values in by_seed], CONFIDENCE)
        return (max(0.0, low), min(1.0, high)) if is_share else (low, high)
    values = np.array([by_seed[0][item] for item in sorted(by_seed[0])])
    if is_share:
        return wilson(float(values.mean()), len(values))
    if len(values) < 2:
        return None, None
    _, low, high = over_items(values, CONFIDENCE)
    return low, high


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's score interval for a share of `count` items at 95 %: six of six are not certainty (Wilson 1927)."""
    z = 1.959963984540054
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_means(effect: Effect, scores: Scores) -> tuple[SeedValue, ...]:
    """The mean paired difference of each seed: what an effect's estimate is the mean of."""
    _, value, set_, measure = effect.metric.rsplit(".", 3)
    found = []
    for seed, arms in sorted(scores.items()):
        mine = _values(arms.get(effect.arm, ()), value, set_, measure)
        theirs = _values(arms.get(effect.versus, ()), value, set_, measure)
        if shared := sorted(mine.keys() & theirs.keys()):
            found.append(SeedValue(seed=seed, value=float(np.mean([mine[item] - theirs[item] for item in shared]))))
    return tuple(found)
