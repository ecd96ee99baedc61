"""Compare two runs: what differs between their files and plans, their numbers side by side, and B minus A on what both asked.

Neighbours: `survey` reads each run, `msm.evals.statistics` gives intervals. Invariants: items are shared when id, value, set, words and
options are equal; differences are paired by seed and item where the runs share seeds, else by item over each run's own seeds, and say
which. Swapping the runs flips the signs. Cost: a bootstrap of 10 ms for each arm, comparison and measure on one seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from msm.evals import statistics
from msm.evals.effects import MEASURES
from msm.evals.statistics import Effect
from msm.results.comparison import Beside, Comparison, Difference, Estimate, Paired
from msm.results.evidence import CONFIDENCE, Scores, measure_of
from msm.results.survey import Survey

NOT_COMPARED = frozenset({"suspend", "ttlSecondsAfterFinished", "execution", "tracking", "storage"})
"""Keys of spec that change no result."""
Column = Mapping[str, float | None]
"""Item id -> value."""


def compare_runs(a: Survey, a_uid: str, b: Survey, b_uid: str) -> Comparison:
    """Everything that can be said of two runs."""
    here, there = ({stage.fingerprint: stage.name for stage in seen.plan.stages} for seen in (a, b))
    return Comparison(
        a=a_uid,
        b=b_uid,
        differences=tuple(differences(described(a), described(b))),
        shared_stages=len(here.keys() & there.keys()),
        stages_of_a=tuple(name for fingerprint, name in here.items() if fingerprint not in there),
        stages_of_b=tuple(name for fingerprint, name in there.items() if fingerprint not in here),
        notes=tuple(_notes(a, b)),
        effects=tuple(_beside(_effects(a), _effects(b))),
        scores=tuple(_beside(_scores(a), _scores(b))),
        paired=tuple(_paired(a, b)),
    )


def described(seen: Survey) -> dict[str, str]:
    """The run's spec and resolved inputs as flat texts by field."""
    spec = seen.run.model_dump(mode="json", by_alias=True, exclude_none=True)["spec"]
    kept = {key: value for key, value in spec.items() if key not in NOT_COMPARED}
    resolved = {f"resolved {path}": found.identity for path, found in seen.plan.resolution.inputs.items()}
    return {**flatten(kept), **resolved, "resolved precision": seen.plan.resolution.precision}


def flatten(node: Any, prefix: str = "") -> dict[str, str]:
    """Nested values as texts by dotted names; elements of a list go by their `name`, plain lists are one text."""
    if isinstance(node, dict):
        children = {f"{prefix}.{key}" if prefix else key: value for key, value in node.items()}
    elif isinstance(node, list) and any(isinstance(one, dict) for one in node):
        children = {f"{prefix}.{one.get('name', number) if isinstance(one, dict) else number}": one for number, one in enumerate(node)}
    else:
        return {prefix: ", ".join(map(str, node)) if isinstance(node, list) else str(node)}
    return {name: text for key, value in children.items() for name, text in flatten(value, key).items() if not key.endswith(".name")}


def differences(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[Difference]:
    """Fields that are not the same, in the order of A's file, then what B alone has."""
    for field in dict.fromkeys([*a, *b]):
        if (a.get(field) or None) != (b.get(field) or None):
            yield Difference(field=field, a=a.get(field), b=b.get(field))


Key = tuple[str, str, str]
"""(metric, arm, versus)"""


def _effects(seen: Survey) -> dict[Key, Estimate]:
    return {(e.metric, e.arm, e.versus): Estimate(value=e.estimate, low=e.low, high=e.high) for e in seen.evidence.effects}


def _scores(seen: Survey) -> dict[Key, Estimate]:
    return {(s.metric, s.arm, ""): Estimate(value=s.mean, low=s.low, high=s.high) for s in seen.scores}


def _beside(a: Mapping[Key, Estimate], b: Mapping[Key, Estimate]) -> Iterator[Beside]:
    for key in dict.fromkeys([*a, *b]):
        metric, arm, versus = key
        yield Beside(metric=metric, arm=arm, versus=versus, a=a.get(key), b=b.get(key))


def shared_items(a: Survey, b: Survey, evaluation: str) -> frozenset[str]:
    """Ids of the items that both runs asked in the same words."""
    mine, theirs = ({item.id: item for item in seen.items.get(evaluation, ())} for seen in (a, b))
    return frozenset(id_ for id_, item in mine.items() if theirs.get(id_) == item)


def _notes(a: Survey, b: Survey) -> Iterator[str]:
    for label, seen in (("A", a), ("B", b)):
        if seen.missing:
            yield f"{label} is not finished: {len(seen.missing)} stages must still run"
    if a.plan.resolution.identity("baseModel") != b.plan.resolution.identity("baseModel"):
        yield "the base models differ, and nats of two models are two scales: compare effects rather than arms"
    for name in dict.fromkeys([*a.items, *b.items]):
        shared, most = len(shared_items(a, b, name)), max(len(a.items.get(name, ())), len(b.items.get(name, ())))
        if name not in a.items or name not in b.items:
            yield f"only {'A' if name in a.items else 'B'} has the eval {name}"
        elif shared < most:
            yield f"{name}: {shared} of {most} items are the same in both; differences rest on those"
    seeds = set(a.run.spec.seeds) & set(b.run.spec.seeds)
    if not seeds:
        yield "no seed in common: differences are paired by item, over each run's own seeds, and speak of other items, not of other seeds"


def _paired(a: Survey, b: Survey) -> Iterator[Paired]:
    for name in a.evidence.scores.keys() & b.evidence.scores.keys():
        pairing = _Pairing(name, shared_items(a, b, name), a.evidence.scores[name], b.evidence.scores[name])
        yield from pairing.all(sorted(_effects(a).keys() & _effects(b).keys()), sorted(_scores(a).keys() & _scores(b).keys()))


@dataclass(frozen=True, slots=True)
class _Pairing:
    """One eval that both runs have."""

    name: str
    items: frozenset[str]
    a: Scores
    b: Scores

    def all(self, effects: Sequence[Key], scores: Sequence[Key]) -> Iterator[Paired]:
        """Effects first, then arms, those of this eval that have enough items."""
        for metric, arm, versus in [*effects, *scores]:
            evaluation, value, set_, measure = metric.rsplit(".", 3)
            if evaluation == self.name and measure in MEASURES:
                found = self._pair((value, set_, measure), metric, arm, versus)
                if found is not None:
                    yield found

    def _pair(self, what: tuple[str, str, str], metric: str, arm: str, versus: str) -> Paired | None:
        mine, theirs = (self._columns(scores, what, arm, versus) for scores in (self.a, self.b))
        seeds = mine.keys() & theirs.keys()
        if seeds:
            table: dict[int, dict[str, Column]] = {seed: {"A": mine[seed], "B": theirs[seed]} for seed in seeds}
        else:
            table = {0: {"A": mean_over_seeds(mine), "B": mean_over_seeds(theirs)}}
        furthest = MEASURES[what[2]] * (2 if versus else 1)
        effect = statistics.compare(table, metric, "B", "A", CONFIDENCE, furthest)
        return None if effect is None else _row(effect, arm, versus, len(seeds) and effect.seeds)

    def _columns(self, scores: Scores, what: tuple[str, str, str], arm: str, versus: str) -> dict[int, Column]:
        return {seed: self._column(by_arm, what, arm, versus) for seed, by_arm in scores.items() if arm in by_arm}

    def _column(self, by_arm: Mapping[str, Sequence[Any]], what: tuple[str, str, str], arm: str, versus: str) -> Column:
        own = self._values(by_arm[arm], what)
        if not versus:
            return own
        control = self._values(by_arm[versus], what)
        return {item: _minus(value, control.get(item)) for item, value in own.items()}

    def _values(self, rows: Sequence[Any], what: tuple[str, str, str]) -> Column:
        value, set_, measure = what
        return {row.id: measure_of(row, measure) for row in rows if row.id in self.items and (row.value, row.set) == (value, set_)}


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def mean_over_seeds(columns: Mapping[int, Column]) -> Column:
    """Item id -> mean over the seeds that have a value; None for an item that no seed has one of."""
    found: dict[str, list[float]] = {}
    for column in columns.values():
        for item, value in column.items():
            found.setdefault(item, []).extend([] if value is None else [value])
    return {item: float(np.mean(values)) if values else None for item, values in found.items()}


def _row(effect: Effect, arm: str, versus: str, seeds: int) -> Paired:
    by: Literal["seed and item", "item"] = "seed and item" if seeds else "item"
    numbers = {name: getattr(effect, name) for name in ("estimate", "low", "high", "confidence", "over", "items")}
    return Paired(metric=effect.metric, arm=arm, versus=versus, by=by, seeds=seeds, **numbers)
