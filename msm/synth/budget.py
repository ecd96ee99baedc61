"""Which rows fill a token budget exactly, spread over their strata.

Pure. Rows are taken in turns, one from each stratum; near the end a small subset-sum search replaces the last ones so that the sum is
the budget. Neighbours: `curate` calls. Invariant: the sum never exceeds the budget, and is the budget whenever the search finds a subset
that says so. Cost: O(rows) plus a bit set of (window x tokens of the window).
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

WINDOWS = (32, 128, 512)
"""How many of the last rows taken are reconsidered, each tried when the one before missed the budget."""
SPARE = 4
"""Rows not taken that may come in, per row reconsidered."""
BITS = 2_000_000_000
"""Largest bit set of one search; a wider window is not tried beyond it."""


def by_turns(strata: Sequence[Hashable]) -> list[int]:
    """Row numbers so that every prefix is as even over strata as the rows allow; within a stratum in order."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for number, stratum in enumerate(strata):
        members[stratum].append(number)
    turns = [(turn, place, number) for place, rows in enumerate(members.values()) for turn, number in enumerate(rows)]
    return [number for _, _, number in sorted(turns)]


def fill(sizes: Sequence[int], order: Sequence[int], budget: int) -> list[int]:
    """Row numbers, ascending, whose sizes sum to the budget, or to the nearest sum below that was found.

    `sizes` are tokens (> 0) by row number; `order` is the order of preference.
    """
    if sum(sizes[number] for number in order) <= budget:
        return sorted(order)
    best: list[int] = []
    for chosen in _attempts(sizes, order, budget):
        if sum(sizes[n] for n in chosen) > sum(sizes[n] for n in best):
            best = chosen
        if sum(sizes[n] for n in best) == budget:
            break
    return sorted(best)


def _attempts(sizes: Sequence[int], order: Sequence[int], budget: int) -> Iterator[list[int]]:
    taken = _prefix(sizes, order, budget)
    for window in WINDOWS:
        fixed = list(order[: max(0, taken - window)])
        pool = order[len(fixed) : taken + SPARE * window]
        target = budget - sum(sizes[number] for number in fixed)
        if window == WINDOWS[0] or target * len(pool) <= BITS:
            yield fixed + [pool[at] for at in subset_sum([sizes[number] for number in pool], target)]
        if not fixed and len(pool) == len(order):
            return


def _prefix(sizes: Sequence[int], order: Sequence[int], budget: int) -> int:
    """How many rows of the order fit before the first that does not."""
    total = 0
    for taken, number in enumerate(order):
        total += sizes[number]
        if total > budget:
            return taken
    return len(order)


def subset_sum(sizes: Sequence[int], target: int) -> list[int]:
    """Indices of a subset with the greatest sum <= target; among equals, one that prefers early indices."""
    mask = (1 << (target + 1)) - 1
    reachable = [1]
    for size in sizes:
        reachable.append((reachable[-1] | reachable[-1] << size) & mask)
    rest = reachable[-1].bit_length() - 1
    chosen = []
    for at in reversed(range(len(sizes))):
        if not reachable[at] >> rest & 1:
            chosen.append(at)
            rest -= sizes[at]
    return chosen[::-1]
