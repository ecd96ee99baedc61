"""What `msm compare` finds, as data: what differs between two runs, their numbers side by side, and paired differences.

Neighbours: `compare` fills it, the command line shows it. Invariant: a difference is B minus A; a number that one run lacks is None.
"""

from typing import Literal

from msm.api.base import Record


class Difference(Record):
    """A field of the run files, or a resolved input, that is not the same."""

    field: str
    """Where: elements of lists by their name."""
    a: str | None
    """What A has; None for nothing."""
    b: str | None
    """What B has."""


class Estimate(Record):
    """A number with its interval."""

    value: float | None
    """The mean, or the mean paired difference to the control."""
    low: float | None
    """Lower end of its interval."""
    high: float | None
    """Upper end."""


class Beside(Record):
    """The same arm (or comparison) and measure in both runs."""

    metric: str
    """eval.value.set.measure"""
    arm: str
    """The arm."""
    versus: str
    """Its control; empty for the arm by itself."""
    a: Estimate | None
    """In A."""
    b: Estimate | None
    """In B."""


class Paired(Record):
    """How far B lies above A, on items that both asked."""

    metric: str
    """eval.value.set.measure"""
    arm: str
    """The arm."""
    versus: str
    """Its control: then it is the effect that differs; empty for the arm by itself."""
    estimate: float
    """Mean difference, B minus A, in the metric's unit."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end."""
    confidence: float
    """Of the interval."""
    over: Literal["items", "seeds"]
    """What the interval speaks of."""
    by: Literal["seed and item", "item"]
    """What is paired; by item alone, each run's mean over its seeds is compared."""
    seeds: int
    """Shared seeds; 0 when paired by item alone."""
    items: int
    """Shared items."""

    @property
    def sign(self) -> int:
        """1 or -1 when the interval excludes zero on that side, else 0."""
        return int(self.low > 0) - int(self.high < 0)


class Comparison(Record):
    """Two runs."""

    a: str
    """Uid of A."""
    b: str
    """Uid of B."""
    differences: tuple[Difference, ...]
    """What is not the same."""
    shared_stages: int
    """Stages that both plans have: made once."""
    stages_of_a: tuple[str, ...]
    """Stages that A alone has."""
    stages_of_b: tuple[str, ...]
    """Stages that B alone has."""
    notes: tuple[str, ...]
    """What limits the comparison, in sentences."""
    effects: tuple[Beside, ...]
    """Arms against their controls, side by side."""
    scores: tuple[Beside, ...]
    """Arms side by side."""
    paired: tuple[Paired, ...]
    """Differences on shared items."""
