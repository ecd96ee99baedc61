"""Best-fit packing of pieces into rows of at most `max_length` tokens.

Pure. Neighbours: `examples` gives lengths, `batches` draws rows. Invariants: every piece is in exactly one row, no row is longer than
`max_length`, the same lengths give the same rows. Source: best-fit decreasing as in "Fewer Truncations Improve Language Modeling"
(2024), section 3. Cost: O(pieces · max_length / 64), from a bit set of the free spaces that rows have left.
"""

from collections.abc import Iterable, Sequence


def split_lengths(length: int, max_length: int) -> list[int]:
    """Lengths of the pieces of a document of `length` tokens: full ones, then the rest."""
    full, rest = divmod(length, max_length)
    return [max_length] * full + ([rest] if rest else [])


def pack(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """Rows of piece numbers; each row's lengths add up to `max_length` at most. ValueError for a length outside 1..max_length."""
    rows: list[list[int]] = []
    by_space: dict[int, list[int]] = {}
    spaces = 0
    for piece in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        length = lengths[piece]
        if not 0 < length <= max_length:
            raise ValueError(f"piece {piece} has {length} tokens; a piece must have 1 to {max_length}")
        space = _smallest_at_least(spaces, length)
        row = by_space[space].pop() if space else _open(rows)
        if space and not by_space[space]:
            spaces &= ~(1 << space)
        rows[row].append(piece)
        left = (space or max_length) - length
        if left:
            by_space.setdefault(left, []).append(row)
            spaces |= 1 << left
    return rows


def fill(lengths: Iterable[int], rows: int, max_length: int) -> float:
    """Which share of the rows' places holds a token."""
    return sum(lengths) / (rows * max_length) if rows else 0.0


def _smallest_at_least(spaces: int, length: int) -> int:
    """The smallest set bit at or above `length`; 0 when there is none."""
    above = spaces >> length
    return length + (above & -above).bit_length() - 1 if above else 0


def _open(rows: list[list[int]]) -> int:
    rows.append([])
    return len(rows) - 1
