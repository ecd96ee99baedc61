"""Which rows are in which update, and what a micro-batch holds: a pure function of (seed, epoch, step).

Nothing about the data's order is ever stored; a resumed run computes it again. Neighbours: `examples` gives rows, `train.loop` draws.
Invariants: every row is in exactly one update of an epoch; updates of an epoch differ by one row at most; the set of rows of an update
does not depend on ranks or micro-batches. Cost: one hash a row and epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

from msm.data.examples import PackedCorpus

IGNORED = -100


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Updates of a run over `rows` packed rows, `rows_per_update` at most in each."""

    rows: int
    rows_per_update: int
    epochs: int
    seed: int

    @property
    def updates_per_epoch(self) -> int:
        """Updates that one pass over the rows takes."""
        return -(-self.rows // self.rows_per_update)

    @property
    def updates(self) -> int:
        """Updates of the whole run."""
        return self.updates_per_epoch * self.epochs

    def rows_of(self, update: int) -> tuple[int, ...]:
        """The rows of an update (0-based), in the order in which ranks take them."""
        epoch, index = divmod(update, self.updates_per_epoch)
        order = epoch_order(self.seed, epoch, self.rows)
        return order[index * self.rows // self.updates_per_epoch : (index + 1) * self.rows // self.updates_per_epoch]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows padded to the longest: `ids`, `positions` (restart at 0 with each piece), `labels` (the next token, or IGNORED)."""

    ids: list[list[int]] = field(repr=False)
    positions: list[list[int]] = field(repr=False)
    labels: list[list[int]] = field(repr=False)
    tokens: int


def rows_per_update(batch_tokens: int, max_length: int) -> int:
    """Packed rows of one global batch; at least one."""
    return max(1, batch_tokens // max_length)


def draw(seed: int, *numbers: int) -> int:
    """63 random bits that depend on the seed and the numbers alone, the same on every machine and Python."""
    text = ",".join(str(number) for number in (seed, *numbers))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, rows: int) -> tuple[int, ...]:
    """A permutation of the row numbers."""
    return tuple(sorted(range(rows), key=lambda row: (draw(seed, epoch, row), row)))


def micro_batches(rows: Sequence[int], rank: int, world: int, micro_rows: int) -> list[tuple[int, ...]]:
    """A rank's share of an update, cut into micro-batches; every rank gets equally many, so some of them may be empty."""
    share = rows[rank::world]
    longest = -(-len(rows) // world)
    return [tuple(share[start : start + micro_rows]) for start in range(0, longest, micro_rows)]


def collate(corpus: PackedCorpus, rows: Sequence[int], filler: int) -> MicroBatch:
    """Tokens of the rows; no rows give the row `filler` without labels, so that a rank with nothing to do still keeps step."""
    width = max(corpus.row_tokens(row) for row in rows or (filler,))
    lines = [_line(corpus, row, width) for row in rows or (filler,)]
    labels = [line[2] for line in lines] if rows else [[IGNORED] * width]
    tokens = sum(corpus.row_tokens(row) for row in rows)
    return MicroBatch([line[0] for line in lines], [line[1] for line in lines], labels, tokens)


def _line(corpus: PackedCorpus, row: int, width: int) -> tuple[list[int], list[int], list[int]]:
    ids: list[int] = []
    positions: list[int] = []
    labels: list[int] = []
    for piece in (corpus.pieces[number] for number in corpus.rows[row]):
        ids.extend(piece.ids)
        positions.extend(range(len(piece.ids)))
        labels.extend(token if learned else IGNORED for token, learned in zip(piece.ids[1:], piece.learned[1:], strict=True))
        labels.append(IGNORED)
    padding = width - len(ids)
    return ids + [0] * padding, positions + list(range(padding)), labels + [IGNORED] * padding
