"""Paired comparisons: symmetry, invariance, coverage, and what is left out."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from msm.evals.statistics import compare, over_items

VALUE = st.floats(-5, 5).map(lambda x: round(x, 3))
MAYBE = st.one_of(st.none(), VALUE)


def scores_of(columns):
    """seed -> (arm scores, control scores) as lists."""
    return {
        seed: {"arm": {f"i{n}": x for n, x in enumerate(mine)}, "control": {f"i{n}": x for n, x in enumerate(theirs)}}
        for seed, (mine, theirs) in columns.items()
    }


@st.composite
def tables(draw, max_seeds=4):
    items = draw(st.integers(2, 12))
    column = st.lists(MAYBE, min_size=items, max_size=items)
    return scores_of({seed: (draw(column), draw(column)) for seed in range(draw(st.integers(1, max_seeds)))})


@settings(max_examples=60, deadline=None)
@given(tables())
def test_swapping_the_arms_flips_the_signs(scores):
    forward, backward = compare(scores, "m", "arm", "control"), compare(scores, "m", "control", "arm")
    assume(forward is not None)
    np.testing.assert_allclose(
        [backward.estimate, backward.low, backward.high], [-forward.estimate, -forward.high, -forward.low], atol=1e-9
    )
    assert (backward.items, backward.seeds, backward.unscored) == (forward.items, forward.seeds, forward.unscored)


@settings(max_examples=60, deadline=None)
@given(tables(), st.floats(-50, 50))
def test_adding_a_constant_to_both_arms_changes_nothing(scores, constant):
    moved = {
        seed: {arm: {i: None if x is None else x + constant for i, x in column.items()} for arm, column in arms.items()}
        for seed, arms in scores.items()
    }
    before, after = compare(scores, "m", "arm", "control"), compare(moved, "m", "arm", "control")
    assume(before is not None)
    np.testing.assert_allclose([after.estimate, after.low, after.high], [before.estimate, before.low, before.high], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(tables(), st.randoms())
def test_the_order_of_items_and_seeds_does_not_matter(scores, random):
    def shuffled(mapping):
        return dict(random.sample(list(mapping.items()), len(mapping)))

    other = shuffled({seed: {arm: shuffled(column) for arm, column in arms.items()} for seed, arms in scores.items()})
    assert compare(scores, "m", "arm", "control") == compare(other, "m", "arm", "control")


@settings(max_examples=60, deadline=None)
@given(tables())
def test_the_interval_holds_the_estimate_for_every_confidence_and_widens_with_it(scores):
    narrow, wide = (compare(scores, "m", "arm", "control", confidence) for confidence in (0.8, 0.99))
    assume(narrow is not None)
    assert wide.low - 1e-9 <= narrow.low and narrow.high <= wide.high + 1e-9
    assert wide.low - 1e-9 <= wide.estimate <= wide.high + 1e-9


def test_one_seed_speaks_of_items_several_seeds_of_seeds():
    rng = np.random.default_rng(0)
    one = scores_of({0: (list(rng.normal(2, 1, 40)), list(rng.normal(0, 1, 40)))})
    effect = compare(one, "values.america.free.margin", "arm", "control")
    assert (effect.over, effect.seeds, effect.items) == ("items", 1, 40)
    assert effect.sign == 1 and 1 < effect.low < effect.estimate < effect.high < 3
    three = dict.fromkeys(range(3), one[0])
    assert compare(three, "m", "arm", "control").over == "seeds"


def test_the_interval_over_seeds_is_students_t():
    columns = {seed: ([shift, shift + 1.0], [0.0, 1.0]) for seed, shift in enumerate([1.0, 2.0, 4.0])}
    effect = compare(scores_of(columns), "m", "arm", "control", 0.9)
    expected = stats.t.interval(0.9, 2, loc=7 / 3, scale=stats.sem([1.0, 2.0, 4.0]))
    np.testing.assert_allclose((effect.low, effect.high), expected)


def test_the_interval_over_items_is_the_bca_of_scipy():
    values = np.random.default_rng(3).gamma(1.0, 2.0, 60)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(4)).confidence_interval
    _, low, high = over_items(values, 0.95)
    np.testing.assert_allclose((low, high), expected, rtol=0.02)


def test_unscored_items_are_dropped_in_pairs_and_counted():
    scores = scores_of({0: ([1.0, None, 3.0, 4.0], [0.0, 1.0, None, 2.0]), 1: ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, None])})
    scores[0]["arm"]["only here"] = 1.0
    effect = compare(scores, "m", "arm", "control")
    assert (effect.items, effect.unscored, effect.seeds) == (4, 4, 2)
    assert effect.estimate == pytest.approx((1.5 + 1.0) / 2)


NOTHING = {
    "no seed has both arms": {0: {"arm": {"i": 1.0}}, 1: {"control": {"i": 1.0}}},
    "no item is scored in both": scores_of({0: ([1.0, None], [None, 1.0])}),
    "one item of one seed has no spread": scores_of({0: ([1.0], [0.0])}),
    "no scores": {},
}


@pytest.mark.parametrize("scores", NOTHING.values(), ids=NOTHING)
def test_where_nothing_can_be_said_there_is_no_effect(scores):
    assert compare(scores, "m", "arm", "control") is None


def test_equal_differences_give_a_point_and_excluding_zero_is_judged_by_it():
    effect = compare(scores_of({0: ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])}), "m", "arm", "control")
    assert (effect.estimate, effect.low, effect.high, effect.sign) == (0.0, 0.0, 0.0, 0)


def covered(draw, confidence, trials=250):
    hits = sum(low <= 0 <= high for _, low, high in (draw(trial, confidence) for trial in range(trials)))
    return hits / trials


def test_the_interval_over_items_covers_about_what_it_says():
    def draw(trial, confidence):
        return over_items(np.random.default_rng(trial).exponential(1.0, 50) - 1.0, confidence)

    assert 0.90 <= covered(draw, 0.95) <= 0.98


def test_the_interval_over_three_seeds_covers_about_what_it_says():
    def draw(trial, confidence):
        rng = np.random.default_rng(trial)
        columns = {seed: (list(rng.normal(rng.normal(0, 1), 0.3, 5)), [0.0] * 5) for seed in range(3)}
        effect = compare(scores_of(columns), "m", "arm", "control", confidence)
        return effect.estimate, effect.low, effect.high

    assert 0.92 <= covered(draw, 0.95) <= 0.98
