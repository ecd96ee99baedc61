"""What a run found: arms side by side, effects with intervals, and a sentence that says what they mean.

Neighbours: `findings` computes it from the evaluations' artifacts, `cli` prints it, tracking projects it. Belongs to the run, since it
carries names; recomputed from the store at any time. Cost: reading the score files, then a bootstrap of milliseconds.
"""

from msm.api.base import Record


class EffectRow(Record):
    """An arm against its control on one metric."""

    metric: str
    """eval.value.set.measure"""
    arm: str
    """The arm."""
    versus: str
    """Its control."""
    estimate: float
    """Mean paired difference, in the metric's unit (margins: nats)."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""
    confidence: float
    """Of the interval."""
    seeds: int
    """Seeds that it rests on."""
    items: int
    """Items that it rests on."""


class ArmRow(Record):
    """One arm on one metric."""

    arm: str
    """The arm."""
    metric: str
    """eval.value.set"""
    mean: float
    """Mean margin in nats, over items and seeds."""
    standard_error: float | None
    """Over items (one seed) or seeds."""
    choice: float | None
    """Share of greedy answers that chose the aligned option."""
    unscored: int
    """Items whose greedy answer could not be read."""
    items: int
    """Items."""


class StageRow(Record):
    """One stage."""

    name: str
    """For people."""
    kind: str
    """Stage kind."""
    state: str
    """Where it stands."""
    reused: bool
    """Not done by this run."""
    seconds: float
    """Time this run spent on it."""


class Results(Record):
    """The results of one run."""

    run: str
    """Its name."""
    effects: tuple[EffectRow, ...]
    """Arms against their controls."""
    stages: tuple[StageRow, ...]
    """Stages."""
    arms: tuple[ArmRow, ...] = ()
    """Arms side by side."""
    sentence: str = ""
    """What the effects mean."""
    warnings: tuple[str, ...] = ()
    """What a reader must know first."""
