"""Near-duplicates: of rows that share most of their word triples, the first is kept.

MinHash (rensa) proposes pairs, the exact Jaccard similarity of the triples decides, so a row is never dropped by an estimate and a
release of rensa with other hashes changes nothing but what is proposed (recall at the threshold >= `RECALL`). Neighbours: `curate` has
the sketches made where the rows are read, `meaning` finds what is said again in other words. Invariant: no two kept rows were proposed and
found similar; the first of each pair stays. Cost: linear but for proposed pairs; 1 KiB a row.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from msm.synth.words import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHINGLE = 3
"""Words a shingle; a shorter text is one shingle."""
PERMUTATIONS = 256
RECALL = 0.999
SEED = 20240229
REMEMBERED = 4096
"""Rows whose shingles are kept at hand while pairs are compared."""
_BATCH = 1024
_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
"""Odd multipliers, one for each place in a shingle, so that order counts."""


def near_duplicates(texts: Sequence[str], threshold: float) -> list[int | None]:
    """For each text the index of the earlier kept text it repeats, or None when it is kept.

    `threshold` in (0, 1] is the Jaccard similarity of word triples from which a text counts as repeated; 1 finds equal sets only.
    """
    import numpy as np

    hashes = [shingles(words(text)) for text in texts]
    parts = [sketches(hashes[start : start + _BATCH]) for start in range(0, len(hashes), _BATCH)]
    return repeats(np.concatenate(parts) if parts else sketches([]), range(len(texts)), hashes.__getitem__, threshold)


def repeats(
    sketched: "NDArray[np.uint32]", rows: Sequence[int], hashes_of: Callable[[int], "NDArray[np.uint64]"], threshold: float
) -> list[int | None]:
    """For each of `rows` (numbers, ascending) the earlier kept row that it repeats; `hashes_of` gives the shingles of a row by its number.

    `sketched` has shape (all rows, PERMUTATIONS). Shingles are asked for only where a pair is proposed.
    """
    remembered = lru_cache(REMEMBERED)(hashes_of)
    found: list[int | None] = []
    kept: dict[int, list[int]] = defaultdict(list)
    for row, buckets in zip(rows, _buckets(sketched, rows, threshold), strict=True):
        proposed = sorted({other for bucket in buckets for other in kept[bucket]})
        repeated = next((other for other in proposed if jaccard(remembered(other), remembered(row)) >= threshold), None)
        found.append(repeated)
        if repeated is None:
            for bucket in buckets:
                kept[bucket].append(row)
    return found


def _buckets(sketched: "NDArray[np.uint32]", rows: Sequence[int], threshold: float) -> list[list[int]]:
    """For each row the numbers of the buckets, over all bands, that it shares with another row."""
    import numpy as np

    shared: list[list[int]] = [[] for _ in rows]
    chosen, taken = sketched[np.asarray(rows, dtype=np.int64)], 0
    for band in np.split(chosen, bands(threshold), axis=1):
        keys = np.zeros(len(band), dtype=np.uint64)
        for column in band.T:
            keys = keys * np.uint64(_ODD[0]) + column
        _, bucket, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        for place in np.flatnonzero(sizes[bucket] > 1).tolist():
            shared[place].append(taken + int(bucket[place]))
        taken += len(sizes)
    return shared


def bands(threshold: float) -> int:
    """Fewest bands of the sketch with which a pair at the threshold is proposed with probability >= RECALL."""
    rows = (rows for rows in (64, 32, 16, 8, 4, 2) if 1 - (1 - threshold**rows) ** (PERMUTATIONS // rows) >= RECALL)
    return PERMUTATIONS // next(rows, 1)


def shingles(spoken: Sequence[str]) -> "NDArray[np.uint64]":
    """Hashes of the different word triples of a text, ascending; of all its words together when there are fewer than three."""
    import numpy as np

    hashed = np.fromiter(map(_hash, spoken), dtype=np.uint64, count=len(spoken))
    size = min(SHINGLE, len(hashed))
    total = np.full(max(1, len(hashed) - SHINGLE + 1), size, dtype=np.uint64)
    for place in range(size):
        total += hashed[place : place + len(total)] * np.uint64(_ODD[place])
    total ^= total >> np.uint64(32)
    return np.unique(total * np.uint64(_ODD[0]))


def sketches(hashes: Sequence["NDArray[np.uint64]"]) -> "NDArray[np.uint32]":
    """MinHash sketches, shape (texts, PERMUTATIONS)."""
    import numpy as np
    from rensa import RMinHash

    if not hashes:
        return np.empty((0, PERMUTATIONS), dtype=np.uint32)
    offsets = [0, *np.cumsum([len(each) for each in hashes]).tolist()]
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(hashes), offsets, PERMUTATIONS, SEED)
    return np.asarray(matrix.to_rows(), dtype=np.uint32)


@lru_cache(1 << 17)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def jaccard(a: "NDArray[np.uint64]", b: "NDArray[np.uint64]") -> float:
    """Share of their different shingles that two texts have in common."""
    import numpy as np

    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)
