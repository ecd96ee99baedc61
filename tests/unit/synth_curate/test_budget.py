"""A token budget is filled exactly, evenly over strata, and never exceeded."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from msm.synth.budget import by_turns, fill, subset_sum

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=60)


def best_sum(sizes, budget):
    """All reachable sums, the slow way."""
    sums = {0}
    for size in sizes:
        sums |= {s + size for s in sums if s + size <= budget}
    return max(sums)


@given(SIZES, st.integers(0, 2000))
def test_the_nearest_sum_below_is_found_and_never_exceeded(sizes, budget):
    chosen = fill(sizes, range(len(sizes)), budget)
    assert chosen == sorted(set(chosen))
    assert sum(sizes[n] for n in chosen) == best_sum(sizes, budget)


@given(SIZES, st.integers(0, 300))
def test_a_subset_sum_is_the_greatest_below(sizes, target):
    chosen = subset_sum(sizes, target)
    assert sum(sizes[n] for n in chosen) == best_sum(sizes, target)


def test_early_rows_are_preferred():
    assert subset_sum([5, 5, 5, 5], 10) == [0, 1]


def test_a_large_corpus_is_filled_exactly_and_quickly():
    sizes = [50 + (7919 * n) % 61 for n in range(20_000)]
    chosen = fill(sizes, range(len(sizes)), 1_000_003)
    assert sum(sizes[n] for n in chosen) == 1_000_003
    assert chosen[:1000] == list(range(1000)), "only the end is reconsidered"


def test_a_budget_that_parity_forbids_is_missed_by_one():
    chosen = fill([4] * 3000, range(3000), 4001)
    assert len(chosen) == 1000


@given(st.lists(st.sampled_from("abcd"), max_size=40), st.integers(0, 40))
def test_every_prefix_is_as_even_as_the_strata_allow(strata, length):
    order = by_turns(strata)
    assert sorted(order) == list(range(len(strata)))
    taken, available = Counter(strata[n] for n in order[:length]), Counter(strata)
    for a in available:
        for b in available:
            assert taken[a] <= taken[b] + 1 or taken[b] == available[b]
