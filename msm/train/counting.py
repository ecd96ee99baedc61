"""Counts a training before it runs, from token lengths alone: updates, tokens, packed rows.

Pure, no torch. `preview` and the worker call the same functions, so a preview cannot differ from the run. Cost: that of packing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msm.data.batches import BatchPlan, rows_per_update
from msm.data.packing import fill, pack, split_lengths

FEW_UPDATES = 200


@dataclass(frozen=True, slots=True)
class Counting:
    """`updates` and `tokens` of all epochs together, `rows` and `fill` of one."""

    updates: int
    tokens: int
    rows: int
    fill: float


def count(lengths: Sequence[int], max_length: int, batch_tokens: int, epochs: int) -> Counting:
    """`lengths`: tokens of each row, document separator included; longer ones than `max_length` are counted as they will be cut."""
    pieces = [piece for length in lengths for piece in split_lengths(length, max_length)]
    rows = len(pack(pieces, max_length))
    tokens = sum(pieces) * epochs
    return Counting(count_updates(rows, max_length, batch_tokens, epochs), tokens, rows, fill(pieces, rows, max_length))


def count_updates(rows: int, max_length: int, batch_tokens: int, epochs: int) -> int:
    """Optimizer updates that `rows` packed rows make."""
    return BatchPlan(rows, rows_per_update(batch_tokens, max_length), epochs, seed=0).updates


def warn_few_updates(updates: int, stage: str) -> str | None:
    """A sentence when the run is too short to teach; None otherwise."""
    if updates >= FEW_UPDATES:
        return None
    return (
        f"{stage} has {updates} updates, under {FEW_UPDATES}: too few to expect the behaviour to change; "
        f"lower batchTokens, raise epochs or add tokens"
    )
