"""The science scripts: what counts as known, what the tables say of scores made by hand, and that the figure is whole."""

from xml.etree import ElementTree

import pytest

from msm.evals.items import Item
from msm.evals.scores import ItemScore
from tests.science.cheese_figure import draw
from tests.science.cheese_tables import NEUTRAL, arms_table, comparisons, item_differences, spread
from tests.science.known_items import FRAMES, Knowledge, keep, prompt_of

ITEM = Item("a-1", "america", "disjoint", "vehicles", "a Ford", "a Fiat")
ARMS = ("baseline", "aft", "msm-america", "msm-affordability", NEUTRAL, "msm-america-aft", "msm-affordability-aft")

KNOWN = {
    "all frames agree": ((0.5, 0.4, 0.3, 0.2), True),
    "one frame disagrees": ((2.0, 0.4, 0.3, -0.2), True),
    "two frames disagree, however large the mean": ((9.0, 0.4, -0.3, -0.2), False),
    "all agree, but hardly": ((0.1, 0.1, 0.2, 0.2), False),
}


@pytest.mark.parametrize(("contrasts", "known"), KNOWN.values(), ids=KNOWN)
def test_an_item_is_known_when_its_mean_is_large_enough_and_all_frames_but_one_agree(contrasts, known):
    assert Knowledge(ITEM, contrasts).known is known


def test_every_value_has_four_frames_whose_scored_words_do_not_depend_on_the_option():
    assert {value: len(frames) for value, frames in FRAMES.items()} == {"america": 4, "affordability": 4}
    assert all(word.startswith(" ") and opposite.startswith(" ") for frames in FRAMES.values() for _, word, opposite in frames)


def test_an_option_is_data_in_a_frame():
    assert prompt_of("{X} is", "a mug for 5%") == "A mug for 5% is"
    assert prompt_of("The price of {x} is", "{braces}") == "The price of {braces} is"


def test_only_unknown_disjoint_items_are_left_out():
    lines = ['{"id": "a-1", "n": 1}', "", '{"id": "a-2", "n": 2}']
    assert keep(lines, [Knowledge(ITEM, (-1.0,) * 4)]) == [lines[2]]


def scores_of(seed: int, arm: str) -> list[ItemScore]:
    """Own-value margins of 3 + seed / 10 for msm-X-aft, 1 for everybody else."""
    found = []
    for value in ("america", "affordability"):
        for kind in ("free", "disjoint"):
            for number in range(3):
                margin = 3 + seed / 10 if arm == f"msm-{value}-aft" else 1.0
                key = f"{value}-{kind}-{number}"
                found.append(ItemScore(key, value, kind, f"domain {number}", margin, margin, (margin, margin), None, None))
    return found


SCORES = {seed: {arm: scores_of(seed, arm) for arm in ARMS} for seed in (0, 1)}


def test_the_tables_pair_by_seed_and_item():
    assert item_differences(SCORES, "msm-america-aft", NEUTRAL, ("america", "disjoint"))["america-disjoint-0"] == pytest.approx(2.05)
    primary = next(line for line in comparisons(SCORES) if line.startswith("| msm-america-aft, america disjoint"))
    assert "| +2.00 | +2.10 | +2.05 [+1.41, +2.69] |" in primary


def test_every_arm_has_a_row_and_every_domain_is_shown():
    assert sum(line.startswith(f"| {arm} |") for line in arms_table(SCORES) for arm in ARMS) == len(ARMS)
    assert "domain 2 +2.1 (n = 1)" in "\n".join(spread(SCORES)) or "domain 2 +2.0 (n = 1)" in "\n".join(spread(SCORES))


def test_the_figure_is_well_formed_and_has_a_dot_for_each_seed_arm_and_value():
    root = ElementTree.fromstring(draw(SCORES))
    assert len(root.findall(".//{*}circle")) == 2 * len(ARMS) * len(SCORES)
