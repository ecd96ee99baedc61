"""The tables of docs/results/cheese.md out of the store: as much as is there, seed by seed.

    MSM_HOME=… python -m tests.science.cheese_tables RUN.yaml [RUN.yaml …]

Takes runs that `msm run` has accepted (one for each seed, or the whole), joins their seeds, and prints: arms, the comparisons that were
fixed before the runs, and how the differences spread over domains and items. Reads committed scores only.
"""

import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msm.cli.reporting import plan_of
from msm.evals.scores import ItemScore
from msm.evals.statistics import Effect, compare
from msm.local.records import find_run
from msm.results.survey import survey

Scores = Mapping[int, Mapping[str, Sequence[ItemScore]]]
CELLS = (("america", "free"), ("america", "disjoint"), ("affordability", "free"), ("affordability", "disjoint"))
PRIMARY = (("america", "msm-america-aft"), ("affordability", "msm-affordability-aft"))
NEUTRAL = "neutral-documents-aft"
OTHERS = (
    ("aft", "baseline"),
    (NEUTRAL, "aft"),
    ("msm-america", "baseline"),
    ("msm-affordability", "baseline"),
    ("msm-america-aft", NEUTRAL),
    ("msm-affordability-aft", NEUTRAL),
    ("msm-america-aft", "aft"),
    ("msm-affordability-aft", "aft"),
    ("msm-america-aft", "msm-affordability-aft"),
    ("msm-affordability-aft", "msm-america-aft"),
)


def read(targets: Sequence[str]) -> dict[int, Mapping[str, Sequence[ItemScore]]]:
    """Scores of all runs by seed and arm."""
    found: dict[int, Mapping[str, Sequence[ItemScore]]] = {}
    for target in targets:
        store, uid, space, run = find_run(target, os.environ, Path.cwd())
        seen = survey(run, plan_of(store, uid, target), store, space.cache)
        for scores in seen.evidence.scores.values():
            found.update(scores)
    return dict(sorted(found.items()))


def of_cell(scores: Sequence[ItemScore], value: str, kind: str) -> list[ItemScore]:
    """The scores of one value and set."""
    return [score for score in scores if (score.value, score.set) == (value, kind)]


def effect(scores: Scores, arm: str, versus: str, cell: tuple[str, str], confidence: float = 0.95) -> Effect | None:
    """The paired effect on one cell's margins."""
    margins = {seed: {name: {s.id: s.margin for s in of_cell(rows, *cell)} for name, rows in arms.items()} for seed, arms in scores.items()}
    return compare(margins, f"{cell[0]}.{cell[1]}.margin", arm, versus, confidence)


def shown(found: Effect | None) -> str:
    """An effect as a table's cell."""
    return "" if found is None else f"{found.estimate:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def arms_table(scores: Scores) -> Iterator[str]:
    """Mean margin over seeds, standard deviation of the seeds' means, share of items above zero."""
    yield "| arm | " + " | ".join(" ".join(cell) for cell in CELLS) + " |"
    yield "|---" * 5 + "|"
    for arm in next(iter(scores.values())):
        yield f"| {arm} | " + " | ".join(_mean_cell([of_cell(arms[arm], *cell) for arms in scores.values()]) for cell in CELLS) + " |"


def _mean_cell(by_seed: Sequence[Sequence[ItemScore]]) -> str:
    means = [statistics.fmean(s.margin for s in rows) for rows in by_seed]
    share = statistics.fmean(statistics.fmean(s.margin > 0 for s in rows) for rows in by_seed)
    spread = f" ({statistics.stdev(means):.2f})" if len(means) > 1 else ""
    return f"{statistics.fmean(means):+.2f}{spread} {share:.0%}"


def comparisons(scores: Scores) -> Iterator[str]:
    """The primary ones with each seed's difference, then the rest over all cells."""
    yield "| primary | " + " | ".join(f"seed {seed}" for seed in scores) + " | mean [95 %] | [97.5 %] |"
    yield "|---" * (len(scores) + 3) + "|"
    for value, arm in PRIMARY:
        cell = (value, "disjoint")
        single = [f"{found.estimate:+.2f}" if (found := effect({s: scores[s]}, arm, NEUTRAL, cell)) else "" for s in scores]
        wide = effect(scores, arm, NEUTRAL, cell, 0.975)
        yield f"| {arm}, {value} disjoint | " + " | ".join(single) + f" | {shown(effect(scores, arm, NEUTRAL, cell))} | {shown(wide)} |"
    yield ""
    yield "| arm − versus | " + " | ".join(" ".join(cell) for cell in CELLS) + " |"
    yield "|---" * 5 + "|"
    for arm, versus in OTHERS:
        yield f"| {arm} − {versus} | " + " | ".join(shown(effect(scores, arm, versus, cell)) for cell in CELLS) + " |"


def item_differences(scores: Scores, arm: str, versus: str, cell: tuple[str, str]) -> dict[str, float]:
    """Item id -> difference of margins, mean over seeds."""
    found: dict[str, list[float]] = defaultdict(list)
    for arms in scores.values():
        theirs = {s.id: s.margin for s in arms[versus]}
        for score in of_cell(arms[arm], *cell):
            found[score.id].append(score.margin - theirs[score.id])
    return {item: statistics.fmean(values) for item, values in found.items()}


def spread(scores: Scores) -> Iterator[str]:
    """The primary differences by item and by domain."""
    for value, arm in PRIMARY:
        found = item_differences(scores, arm, NEUTRAL, (value, "disjoint"))
        any_seed = next(iter(scores.values()))
        domain = {s.id: s.domain for s in any_seed[arm]}
        error = statistics.stdev(found.values()) / len(found) ** 0.5
        up = statistics.fmean(d > 0 for d in found.values())
        yield f"{arm}: {statistics.fmean(found.values()):+.2f}, standard error over {len(found)} items {error:.2f}, {up:.0%} of items up"
        yield "  by domain: " + _grouped(found, domain)


def _grouped(found: Mapping[str, float], group: Mapping[str, str]) -> str:
    groups: dict[str, list[float]] = defaultdict(list)
    for item, difference in found.items():
        groups[group[item]].append(difference)
    return ", ".join(f"{name} {statistics.fmean(rows):+.1f} (n = {len(rows)})" for name, rows in sorted(groups.items()))


def main(targets: Sequence[str]) -> None:
    """Print everything."""
    scores = read(targets)
    print(f"{len(scores)} seeds: {', '.join(map(str, scores))}\n")
    for part in (arms_table, comparisons, spread):
        print("\n".join(part(scores)), end="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
