"""Paired comparison of two arms: an estimate and an interval that honours what was repeated.

Pure (numpy, scipy). Neighbour: `effects` asks for one comparison for each metric and arm. Invariants: differences are paired by seed and
item; swapping the arms flips the signs; adding a constant to both changes nothing but rounding; the result is a function of the scores
alone. Cost: 10,000 resamples of n items, about 10 ms for 100 items.

One seed: BCa bootstrap over items (Efron 1987), so the interval speaks of other items of the same kind and not of other seeds. Two seeds
or more: Student's t over the seeds' mean differences, so it speaks of other seeds with the same items; a percentile bootstrap over three
seeds would cover about 73 % where it says 95 %.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SeedArmScores = Mapping[int, Mapping[str, Mapping[str, float | None]]]
"""seed -> arm -> item id -> score; None (or an absent id) is unscored."""

RESAMPLES = 10_000
RESAMPLING_SEED = 20_260_522
"""Fixed: the same scores give the same interval everywhere."""


@dataclass(frozen=True, slots=True)
class Effect:
    """How far `arm` lies above `versus` in `metric`, in the metric's unit.

    `seeds`: number of seeds that have both arms; `items`: number of items scored in both arms of at least one seed; `unscored`: number of
    (seed, item) pairs left out because one arm has no score; `over`: what the interval speaks of.
    """

    metric: str
    arm: str
    versus: str
    estimate: float
    low: float
    high: float
    confidence: float
    seeds: int
    items: int
    unscored: int = 0
    over: Literal["items", "seeds"] = "items"

    @property
    def sign(self) -> int:
        """1 or -1 when the interval excludes zero on that side, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def compare(
    scores: SeedArmScores, metric: str, arm: str, versus: str, confidence: float = 0.95, furthest: float = math.inf
) -> Effect | None:
    """Compare two arms; None when nothing can be said (no seed has both arms, or one seed with fewer than two items scored in both).

    `furthest`: the largest difference that there can be; Student's t knows of none, and over few seeds goes beyond it.
    """
    both = {seed: (arms[arm], arms[versus]) for seed, arms in sorted(scores.items()) if arm in arms and versus in arms}
    paired = {seed: _differences(mine, theirs) for seed, (mine, theirs) in both.items()}
    unscored = sum(len(mine.keys() | theirs.keys()) - len(paired[seed]) for seed, (mine, theirs) in both.items())
    by_seed = [np.array([paired[seed][item] for item in sorted(paired[seed])]) for seed in paired if paired[seed]]
    if not by_seed or (len(by_seed) == 1 and len(by_seed[0]) < 2):
        return None
    estimate, low, high = over_items(by_seed[0], confidence) if len(by_seed) == 1 else over_seeds(by_seed, confidence)
    items = len(set().union(*paired.values()))
    over: Literal["items", "seeds"] = "items" if len(by_seed) == 1 else "seeds"
    ends = max(-furthest, low), min(furthest, high)
    return Effect(metric, arm, versus, estimate, *ends, confidence, len(by_seed), items, unscored, over)


def _differences(mine: Mapping[str, float | None], theirs: Mapping[str, float | None]) -> dict[str, float]:
    pairs = ((item, mine[item], theirs[item]) for item in mine.keys() & theirs.keys())
    return {item: a - b for item, a, b in pairs if a is not None and b is not None}


def over_items(differences: Floats, confidence: float) -> tuple[float, float, float]:
    """Return the mean of [items] differences with its BCa bootstrap interval."""
    estimate = float(differences.mean())
    if np.ptp(differences) <= 1e-12 * max(1.0, float(np.abs(differences).max())):
        return estimate, estimate, estimate
    means = _resampled_means(differences)
    tails = NormalDist().inv_cdf((1 - confidence) / 2)
    low, high = np.quantile(means, [_bca_level(differences, means, z) for z in (tails, -tails)])
    return estimate, float(low), float(high)


def _resampled_means(values: Floats) -> Floats:
    rng = np.random.default_rng(RESAMPLING_SEED)
    means: Floats = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    return means


def _bca_level(values: Floats, means: Floats, z: float) -> float:
    """Quantile of the resampled means at which the interval's end for normal quantile `z` lies: bias-corrected and accelerated.

    For a mean, the jackknife's deviations are the centred values divided by n - 1, so the acceleration is a scaled skewness.
    """
    normal = NormalDist()
    centre = values.mean()
    slack = 1e-12 * max(1.0, float(np.abs(means).max()))
    below = (np.count_nonzero(means < centre - slack) + np.count_nonzero(means <= centre + slack)) / 2 / len(means)
    bias = normal.inv_cdf(min(max(below, 1 / len(means)), 1 - 1 / len(means)))
    deviations = values - centre
    acceleration = float((deviations**3).sum() / (6 * ((deviations**2).sum()) ** 1.5))
    shifted = bias + z
    return normal.cdf(bias + shifted / (1 - acceleration * shifted))


def over_seeds(by_seed: list[Floats], confidence: float) -> tuple[float, float, float]:
    """Return the mean of the seeds' mean differences with Student's t interval (seeds - 1 degrees of freedom)."""
    from scipy.special import stdtrit

    means = np.array([differences.mean() for differences in by_seed])
    estimate = float(means.mean())
    quantile = float(stdtrit(len(means) - 1, (1 + confidence) / 2))
    half = quantile * float(means.std(ddof=1)) / len(means) ** 0.5
    return estimate, estimate - half, estimate + half
