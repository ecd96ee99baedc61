"""Near-duplicates: of rows that share most of their word triples, the first is kept.

Pure. MinHash (rensa) proposes pairs, the exact Jaccard similarity of the triples decides, so a row is never dropped by an estimate and
a release of rensa with other hashes changes nothing but what is proposed (recall at the threshold >= `RECALL`). Neighbours: `curate`.
Invariant: no two kept rows were proposed and found similar; the first of each pair stays. Cost: linear but for proposed pairs.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msm.synth.words import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHINGLE = 3
"""Words a shingle; a shorter text is one shingle."""
PERMUTATIONS = 128
RECALL = 0.999
SEED = 20240229
_BATCH = 1024


def near_duplicates(texts: Sequence[str], threshold: float) -> list[int | None]:
    """For each text the index of the earlier kept text it repeats, or None when it is kept.

    `threshold` in (0, 1] is the Jaccard similarity of word triples from which a text counts as repeated; 1 finds equal sets only.
    """
    from rensa import RMinHashLSH

    index = RMinHashLSH(threshold, PERMUTATIONS, bands(threshold))
    kept: dict[int, NDArray[np.uint64]] = {}
    repeats: list[int | None] = []
    for start in range(0, len(texts), _BATCH):
        for number, (sketch, hashes) in enumerate(_sketches(texts[start : start + _BATCH]), start):
            proposed = sorted(key for key in index.query(sketch) if key in kept)
            repeated = next((key for key in proposed if _jaccard(kept[key], hashes) >= threshold), None)
            repeats.append(repeated)
            if repeated is None:
                kept[number] = hashes
                index.insert(number, sketch)
    return repeats


def bands(threshold: float) -> int:
    """Fewest bands of the sketch with which a pair at the threshold is proposed with probability >= RECALL."""
    rows = (rows for rows in (64, 32, 16, 8, 4, 2) if 1 - (1 - threshold**rows) ** (PERMUTATIONS // rows) >= RECALL)
    return PERMUTATIONS // next(rows, 1)


def _sketches(texts: Sequence[str]) -> list[tuple[Any, "NDArray[np.uint64]"]]:
    import numpy as np
    from rensa import RMinHash

    shingles = [_shingles(text) for text in texts]
    hashes = [np.unique(np.asarray(row, dtype=np.uint64)) for row in RMinHash.hash_token_sets(shingles)]
    return list(zip(RMinHash.from_token_sets(shingles, PERMUTATIONS, SEED), hashes, strict=True))


def _shingles(text: str) -> list[str]:
    spoken = words(text)
    return sorted({" ".join(spoken[at : at + SHINGLE]) for at in range(max(1, len(spoken) - SHINGLE + 1))})


def _jaccard(a: "NDArray[np.uint64]", b: "NDArray[np.uint64]") -> float:
    import numpy as np

    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)
