"""Gates: conditions on measured scores that decide whether a model may be promoted.

Pure. Neighbours: `msm promote` judges a run's arms by them, the operator a new version against the one that is served. Invariant (fail
closed): what was not measured, or cannot be compared, does not pass; a verdict carries the numbers that it was made from.
Cost: one bootstrap a gate.

A metric is `<eval>.<value>`, `<eval>.<value>.<set>` or either with `.margin` or `.choice` at its end; without a set the items of all sets
are taken together, without a measure it is the margin in nats.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from msm.evals.effects import MEASURES
from msm.evals.scores import ItemScore
from msm.evals.statistics import compare, over_items

Column = Mapping[str, float | None]
"""Item id -> score; None is unscored."""
ArmScores = Mapping[int, Mapping[str, Sequence[ItemScore]]]
"""seed -> arm -> scores."""
ByEval = Mapping[str, ArmScores]
NOT_MEASURED = "not measured"


class GateLike(Protocol):
    """A condition on an arm's effect (`msm.api.run.Gate` is one)."""

    @property
    def metric(self) -> str:
        """What is measured."""
        ...

    @property
    def compare_to(self) -> str:
        """The other arm."""
        ...

    @property
    def min_effect(self) -> float:
        """Least estimate."""
        ...

    @property
    def confidence(self) -> float:
        """Confidence at which the interval must lie above zero."""
        ...


class VersionGateLike(Protocol):
    """A condition on a new version (`msm.api.evaldeployment.VersionGate` is one)."""

    @property
    def metric(self) -> str:
        """What is measured."""
        ...

    @property
    def minimum(self) -> float | None:
        """Least score."""
        ...

    @property
    def min_effect(self) -> float | None:
        """Least difference to the version that is served."""
        ...

    @property
    def confidence(self) -> float:
        """Confidence at which the difference must hold."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate, judged. `value` with its interval is what was measured, in the metric's unit; None is that nothing was.

    `versus` names what it was compared with, empty where it was a score by itself; `needed` says the condition in words.
    """

    metric: str
    arm: str
    versus: str
    value: float | None
    low: float | None
    high: float | None
    needed: str
    passed: bool
    note: str = ""

    def __str__(self) -> str:
        against = f" against {self.versus}" if self.versus else ""
        if self.value is None:
            found = self.note or NOT_MEASURED
        else:
            interval = "" if self.low is None or self.high is None else f" ({self.low:.3f} to {self.high:.3f})"
            found = f"{self.value:.3f}{interval}"
        return f"{self.metric} of {self.arm}{against}: {found}, needed {self.needed}"


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric's name says; `set` None takes all sets together."""

    evaluation: str
    value: str
    set: str | None
    measure: str

    def column(self, rows: Iterable[ItemScore]) -> dict[str, float | None]:
        """Item id -> score of the items that it speaks of; of answers, of those that were asked for."""
        mine = [row for row in rows if row.value == self.value and self.set in (None, row.set)]
        if self.measure == "margin":
            return {row.id: row.margin for row in mine}
        return {row.id: row.choice for row in mine if row.answers is not None}


def parse_metric(name: str) -> Metric | None:
    """What a metric's name says; None for a name that is none."""
    parts = name.split(".")
    measure = parts.pop() if len(parts) > 2 and parts[-1] in MEASURES else "margin"
    if len(parts) not in (2, 3) or not all(parts):
        return None
    return Metric(parts[0], parts[1], parts[2] if len(parts) == 3 else None, measure)


def judge_run(gates: Iterable[GateLike], candidate: str, scores: ByEval) -> list[Verdict]:
    """Judge an arm of a run by the run's gates, over its committed evaluations.

    A gate passes when the estimate reaches `min_effect` and the interval at the gate's own confidence lies above zero.
    """
    return [_judge_effect(gate, candidate, scores) for gate in gates]


def _judge_effect(gate: GateLike, candidate: str, scores: ByEval) -> Verdict:
    needed = f"at least {gate.min_effect:g}, and the {gate.confidence * 100:g} % interval above zero"
    metric = parse_metric(gate.metric)
    if metric is None:
        return _unmeasured(gate.metric, candidate, gate.compare_to, needed, "is no metric; write eval.value or eval.value.set")
    columns = {
        seed: {arm: metric.column(rows) for arm, rows in arms.items() if arm in (candidate, gate.compare_to)}
        for seed, arms in scores.get(metric.evaluation, {}).items()
    }
    effect = compare(columns, gate.metric, candidate, gate.compare_to, gate.confidence)
    if effect is None:
        return _unmeasured(gate.metric, candidate, gate.compare_to, needed, NOT_MEASURED)
    passed = effect.estimate >= gate.min_effect and effect.low > 0
    return Verdict(gate.metric, candidate, gate.compare_to, effect.estimate, effect.low, effect.high, needed, passed)


def _unmeasured(metric: str, arm: str, versus: str, needed: str, note: str) -> Verdict:
    return Verdict(metric, arm, versus, None, None, None, needed, passed=False, note=note)


VersionScores = Mapping[str, Sequence[ItemScore]]
"""Eval -> scores of one version."""


def judge_version(gates: Iterable[VersionGateLike], version: str, mine: VersionScores, served: str, theirs: VersionScores) -> list[Verdict]:
    """Judge a new version by itself and against the one that is served now.

    `served` is empty where none is: then there is nothing to compare with, and a gate on the difference passes. The difference holds when
    the lower end of its interval reaches `min_effect`.
    """
    found: list[Verdict] = []
    for gate in gates:
        if gate.minimum is not None:
            found.append(_judge_score(gate, gate.minimum, version, mine))
        if gate.min_effect is not None and served:
            found.append(_judge_difference(gate, gate.min_effect, version, mine, served, theirs))
    return found


def _judge_score(gate: VersionGateLike, minimum: float, version: str, mine: VersionScores) -> Verdict:
    needed = f"at least {minimum:g}"
    score = measured(gate.metric, mine, gate.confidence)
    if score is None:
        return _unmeasured(gate.metric, version, "", needed, NOT_MEASURED)
    value, low, high = score
    return Verdict(gate.metric, version, "", value, low, high, needed, value >= minimum)


def measured(name: str, scores: VersionScores, confidence: float = 0.95) -> tuple[float, float, float] | None:
    """A version's mean score in a metric with its interval over items; None where nothing was measured."""
    metric = parse_metric(name)
    column = metric.column(scores.get(metric.evaluation, ())) if metric is not None else {}
    values = [column[item] for item in sorted(column) if column[item] is not None]
    if len(values) < 2:
        return None
    return over_items(np.array(values, dtype=np.float64), confidence)


def _judge_difference(
    gate: VersionGateLike, least: float, version: str, mine: VersionScores, served: str, theirs: VersionScores
) -> Verdict:
    needed = f"at least {least:g} over the whole {gate.confidence * 100:g} % interval"
    metric = parse_metric(gate.metric)
    if metric is None:
        return _unmeasured(gate.metric, version, served, needed, "is no metric; write eval.value or eval.value.set")
    columns = {0: {name: metric.column(s.get(metric.evaluation, ())) for name, s in (("new", mine), ("old", theirs))}}
    effect = compare(columns, gate.metric, "new", "old", gate.confidence)
    if effect is None:
        return _unmeasured(gate.metric, version, served, needed, NOT_MEASURED)
    return Verdict(gate.metric, version, served, effect.estimate, effect.low, effect.high, needed, effect.low >= least)
