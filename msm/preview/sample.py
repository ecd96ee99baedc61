"""What the few rows of a pilot say of all rows to come: how many pass, how long they are, and how sure that is.

Pure. Neighbours: `projection` scales by it, `cli` prints it. Invariant: every estimate has an interval at 95 %: Wilson's for shares,
Student's t for means.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from msm.evals.statistics import over_seeds
from msm.results.evidence import wilson

CONFIDENCE = 0.95
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Between:
    """An estimate and its interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: Sequence[float]) -> Between:
    """Student's t over the values; of one value, which says nothing of others, the value itself. Never below a quarter of the mean."""
    if len(values) < 2:
        return Between(*([values[0] if values else 0.0] * 3))
    mean, low, high = over_seeds([np.array([value]) for value in values], CONFIDENCE)
    return Between(mean, min(mean, max(low, mean / 4)), max(mean, high))


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of a pilot, `dropped` ones with "reason"; `asked` ideas or candidates; `sizes` tokens of each idea, 0 for a failed one."""

    passed: tuple[Row, ...]
    dropped: tuple[Row, ...]
    asked: int
    sizes: tuple[int, ...]

    @property
    def made(self) -> int:
        """Rows before the gates."""
        return len(self.passed) + len(self.dropped)

    @property
    def passed_share(self) -> Between:
        """Share of the made rows that pass."""
        if not self.made:
            return Between(0.0, 0.0, 1.0)
        share = len(self.passed) / self.made
        low, high = wilson(share, self.made)
        return Between(share, min(low, share), max(high, share))

    @property
    def reasons(self) -> dict[str, int]:
        """Reason -> rows dropped."""
        return dict(Counter(str(row.get("reason", "")) for row in self.dropped).most_common())

    def brought(self, in_tokens: bool) -> Between:
        """What an idea brings towards what is wanted: tokens, or documents."""
        return mean_interval([float(size) if in_tokens else float(size > 0) for size in self.sizes])

    def scores(self) -> dict[str, tuple[float, float, float]]:
        """Axis -> (least, median, most) over all scored rows."""
        scored = [(row.get("provenance") or {}).get("scores") or {} for row in (*self.passed, *self.dropped)]
        axes = list(dict.fromkeys(axis for scores in scored for axis in scores))
        found = {axis: sorted(float(scores[axis]) for scores in scored if axis in scores) for axis in axes}
        return {axis: (values[0], float(np.median(values)), values[-1]) for axis, values in found.items()}


def needed_surplus(share: Between) -> float | None:
    """The least surplus with which even the low end of the share leaves enough, in steps of a twentieth; None when nothing passes."""
    return None if share.low <= 0 else ceil(20 / share.low) / 20
