"""Vectors of texts without a network: the base model's own table of input embeddings, reduced and pooled, on a processor, with numpy.

A text is the mean of its different tokens, each weighted by how rarely texts hold it. Tokenizers number their tokens by frequency, so that
the weight needs no corpus (Zipf), and a vector depends on its text alone. The table's first directions, which all tokens share, are left
out, the next `DIMENSIONS` are brought to one variance (after Arora et al. 2017, and Mu & Viswanath 2018; pooled as model2vec does).
Neighbours: `judge` makes vectors where rows are read, `curate` compares them. Invariant: cosine of equal texts is 1; nothing is loaded but
safetensors. Cost: seconds for the table, 0.3 ms a document of 1,200 tokens. What it finds and what it does not: docs/design/synth.md.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

from msm.data.safetensors_file import Tensor, widened_tensors
from msm.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

DIMENSIONS = 256
SHARED = 3
"""Leading directions of a table that are left out: frequency and spelling, not meaning."""
COLUMNS = 1024
"""A wider table is brought to so many columns by a fixed random projection first, or its directions would cost minutes."""
TYPICAL = 120
"""Tokens of the text whose chance to hold a token is the token's commonness."""
RARITY = 3
"""Power of the logarithm of rarity that is a token's weight."""
WINDOW = 32
"""Tokens of a passage that is compared with an eval item; passages overlap by half."""
TABLES = (
    "model.embed_tokens.weight",
    "transformer.wte.weight",
    "wte.weight",
    "gpt_neox.embed_in.weight",
    "model.decoder.embed_tokens.weight",
)
"""What checkpoints call the table of input embeddings."""
_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Meaning:
    """A reduced table with the tokens' weights in it, shape (vocabulary, DIMENSIONS) or fewer dimensions."""

    table: "Vectors"

    def document(self, ids: Sequence[int]) -> "Vectors":
        """The unit vector of a text; zero for one without any token that counts."""
        import numpy as np

        different = np.unique(np.asarray(ids, dtype=np.int64))
        return unit(self.table[different].sum(axis=0, dtype=np.float32))

    def passages(self, ids: Sequence[int]) -> "Vectors":
        """Unit vectors of overlapping passages, shape (passages, dimensions); a short text is one passage."""
        import numpy as np

        half = WINDOW // 2
        starts = np.arange(0, max(1, len(ids)), half)
        if not len(ids):
            return np.zeros((1, self.table.shape[1]), dtype=np.float32)
        halves = np.add.reduceat(self.table[np.asarray(ids, dtype=np.int64)], starts, axis=0)
        return unit(halves[:-1] + halves[1:] if len(halves) > 1 else halves)


def unit(vectors: "Vectors") -> "Vectors":
    """Vectors of length one in the last axis; what is zero stays zero."""
    import numpy as np

    length = np.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
    scaled: Vectors = vectors / np.maximum(length, np.float32(1e-12))
    return scaled


def read_table(path: Path) -> "Vectors":
    """The table of input embeddings in a safetensors file, float32.

    Raises:
        UserError: the file has none under a known name.
    """
    return _values(next((t for t in widened_tensors(path) if t.name in TABLES), None), path)


def _values(found: Tensor | None, path: Path) -> "Vectors":
    if found is None or len(found.shape) != 2:
        problem = f"{path.name} of the base model has no table of input embeddings (looked for {', '.join(TABLES)})"
        raise UserError("quality.semanticDuplicates", problem, "leave the semantic gates off for this model")
    return found.values().reshape(found.shape)


def meaning_of(table: "Vectors") -> Meaning:
    """Reduce a table, shape (vocabulary, width)."""
    import numpy as np

    narrow = _narrowed(table)
    middle = narrow.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread, directions = np.linalg.eigh(_covariance(narrow, middle))
    chosen = slice(-SHARED - 1, -SHARED - 1 - min(DIMENSIONS, narrow.shape[1] - SHARED), -1)
    scaled = (directions[:, chosen] / np.sqrt(np.maximum(spread[chosen], 1e-12))).astype(np.float32)
    reduced = np.concatenate([(narrow[at : at + _ROWS] - middle) @ scaled for at in range(0, len(narrow), _ROWS)])
    return Meaning(reduced * weights(len(table))[:, None])


def dispersion(vectors: "Vectors") -> float:
    """Mean cosine distance between two of several unit vectors; 0 is all alike. By the length of their sum, so linear in their number."""
    import numpy as np

    count = len(vectors)
    if count < 2:
        return 0.0
    total = vectors.sum(axis=0, dtype=np.float64)
    own = float(np.square(vectors, dtype=np.float64).sum())
    return 1 - (float(total @ total) - own) / (count * (count - 1))


def weights(vocabulary: int) -> "Vectors":
    """Weight of each token by its number: how rare a token of that rank is, by Zipf's law, in a text of TYPICAL tokens."""
    import numpy as np

    frequency = 1 / ((np.arange(vocabulary) + 2.7) * log(max(vocabulary, 3)))
    return np.asarray((-np.log(-np.expm1(-TYPICAL * frequency))) ** RARITY, dtype=np.float32)


def _narrowed(table: "Vectors") -> "Vectors":
    import numpy as np

    if table.shape[1] <= COLUMNS:
        return table
    projection = np.random.default_rng(0).standard_normal((table.shape[1], COLUMNS)).astype(np.float32) / np.float32(COLUMNS**0.5)
    return np.concatenate([table[at : at + _ROWS] @ projection for at in range(0, len(table), _ROWS)])


def _covariance(table: "Vectors", middle: "Vectors") -> "NDArray[np.float64]":
    import numpy as np

    total = np.zeros((table.shape[1], table.shape[1]))
    for at in range(0, len(table), _ROWS):
        part = table[at : at + _ROWS] - middle
        total += part.T @ part
    return total / len(table)


class Repeats:
    """Finds, in order, which vectors come close to one that was kept before. Cost: a product of all kept x all, in tiles."""

    def __init__(self, threshold: float, rows: int, dimensions: int) -> None:
        import numpy as np

        self._threshold, self._kept = np.float32(threshold), np.empty((rows, dimensions), dtype=np.float32)
        self._numbers: list[int] = []

    def add(self, vectors: "Vectors", numbers: Sequence[int]) -> list[tuple[int, float] | None]:
        """For each new vector the number of the first kept one with a cosine at or above the threshold, and the cosine; None keeps it."""
        import numpy as np

        found = self._before(vectors)
        among = vectors @ vectors.T
        alive: list[int] = []
        for place, number in enumerate(numbers):
            if found[place] is None:
                close = np.flatnonzero(among[place, alive] >= self._threshold)
                if len(close):
                    other = alive[int(close[0])]
                    found[place] = (numbers[other], float(among[place, other]))
            if found[place] is None:
                alive.append(place)
                self._kept[len(self._numbers)] = vectors[place]
                self._numbers.append(number)
        return found

    def _before(self, vectors: "Vectors") -> list[tuple[int, float] | None]:
        found: list[tuple[int, float] | None] = [None] * len(vectors)
        for start in range(0, len(self._numbers), _ROWS):
            stop = min(start + _ROWS, len(self._numbers))
            close = vectors @ self._kept[start:stop].T
            for place in (close.max(axis=1) >= self._threshold).nonzero()[0].tolist():
                if found[place] is None:
                    at = int((close[place] >= self._threshold).argmax())
                    found[place] = (self._numbers[start + at], float(close[place, at]))
        return found


def repeats(vectors: "Vectors", rows: Sequence[int], threshold: float, batch: int = 1024) -> Iterable[tuple[int, float] | None]:
    """For each of `rows` the earlier kept row that says the same, with the cosine; `vectors` has all rows, unit or zero."""
    import numpy as np

    finder = Repeats(threshold, len(rows), vectors.shape[1])
    for start in range(0, len(rows), batch):
        numbers = rows[start : start + batch]
        yield from finder.add(vectors[np.asarray(numbers, dtype=np.int64)], numbers)
