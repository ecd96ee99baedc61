"""docs/results/cheese.md agrees with itself: its tables with its figure, its summaries with its tables, its fixed part with the run file.

The store of the published runs is not in the repository; the figure holds each seed's mean of every arm, from which intervals follow.
"""

import re
import statistics
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from scipy.stats import t

from msm.api import load_run
from msm.evals.items import load_items

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/results/cheese.md").read_text(encoding="utf-8")
VALUES = ("america", "affordability")
NEUTRAL = "neutral-documents-aft"
READING = 0.011
"""Numbers are printed to 0.01; a tenth of a unit of the drawing is 0.0025 nats."""
SVG = "{http://www.w3.org/2000/svg}"


def seeds_of_figure() -> dict[tuple[str, str], list[float]]:
    """(value, arm) -> a mean for each seed, by the axis's own ticks."""
    root = ElementTree.parse(ROOT / "docs/results/cheese.svg").getroot()
    arms = [e.text or "" for e in root.iter(f"{SVG}text") if e.get("text-anchor") == "end"]
    ticks = [(float(e.get("x", "")), float(e.text or "")) for e in root.iter(f"{SVG}text") if e.get("text-anchor") == "middle"]
    groups = [[float(c.get("cx", "")) for c in g.iter(f"{SVG}circle")] for g in root.iter(f"{SVG}g")]
    found, half = {}, len(ticks) // 2
    for number, value in enumerate(VALUES):
        (x0, low), (x1, high) = ticks[number * half], ticks[(number + 1) * half - 1]
        for arm, dots in zip(arms, groups[number * len(arms) : (number + 1) * len(arms)], strict=True):
            found[value, arm] = [low + (x - x0) / (x1 - x0) * (high - low) for x in dots]
    return found


FIGURE = seeds_of_figure()


def table(header: str) -> dict[str, list[str]]:
    """First cell -> the others, of the table whose header starts so."""
    lines = PAGE[PAGE.index(header) :].split("\n\n")[0].splitlines()[2:]
    return {row[0]: row[1:] for row in ([cell.strip() for cell in line.strip("| ").split("|")] for line in lines)}


def numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"[+-]?\d+\.\d+", cell)]


def interval(differences: list[float], confidence: float) -> list[float]:
    half = float(t.ppf((1 + confidence) / 2, len(differences) - 1)) * statistics.stdev(differences) / len(differences) ** 0.5
    return [statistics.fmean(differences), statistics.fmean(differences) - half, statistics.fmean(differences) + half]


def differences(value: str, arm: str, versus: str) -> list[float]:
    return [mine - theirs for mine, theirs in zip(FIGURE[value, arm], FIGURE[value, versus], strict=True)]


def test_every_arm_of_the_run_file_is_in_table_and_figure_with_a_dot_for_each_of_its_seeds() -> None:
    spec = load_run(ROOT / "manifests/cheese.yaml").spec
    arms = {arm.name for arm in spec.arms}
    assert set(table("| arm | america free")) == arms == {arm for _, arm in FIGURE}
    assert {len(dots) for dots in FIGURE.values()} == {len(spec.seeds)} == {5}


@pytest.mark.parametrize(("value", "column"), [("america", 1), ("affordability", 3)])
def test_the_table_of_arms_is_that_of_the_figure(value: str, column: int) -> None:
    for arm, cells in table("| arm | america free").items():
        dots = FIGURE[value, arm]
        assert numbers(cells[column])[:2] == pytest.approx([statistics.fmean(dots), statistics.stdev(dots)], abs=READING), arm


@pytest.mark.parametrize(("value", "column"), [("america", 1), ("affordability", 3)])
def test_every_comparison_is_students_t_over_the_figures_seeds(value: str, column: int) -> None:
    for pair, cells in table("| arm − versus |").items():
        arm, versus = pair.split(" − ")
        assert numbers(cells[column]) == pytest.approx(interval(differences(value, arm, versus), 0.95), abs=READING), pair


def test_the_primary_comparisons_seeds_and_both_confidences_follow() -> None:
    for name, cells in table("| primary |").items():
        arm, _, cell = name.partition(", ")
        found = differences(cell.split()[0], arm, NEUTRAL)
        assert [numbers(cell)[0] for cell in cells[:5]] == pytest.approx(found, abs=READING)
        assert numbers(cells[5]) == pytest.approx(interval(found, 0.95), abs=READING)
        assert numbers(cells[6]) == pytest.approx(interval(found, 0.975), abs=READING)


def test_the_result_on_top_and_in_the_readme_are_the_primary_comparisons() -> None:
    top, readme = PAGE[: PAGE.index("## What was fixed")], (ROOT / "README.md").read_text(encoding="utf-8")
    for cells in table("| primary |").values():
        mean, low, high = re.findall(r"\d+\.\d+", cells[5])
        assert f"+{mean} nats\n[{low}, {high}]" in top or f"+{mean} [{low}, {high}]" in top
        assert re.search(rf"\+{mean}( nats)? \[{low}, {high}\]", readme)


def test_the_items_are_as_many_as_was_fixed() -> None:
    items = load_items(ROOT / "manifests/items/cheese.jsonl")
    assert Counter((item.value, item.set) for item in items) == {
        (value, kind): n for value in VALUES for kind, n in (("disjoint", 72), ("free", 24))
    }
