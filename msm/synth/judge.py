"""What can be said of a row by looking at it alone: its gates, its tokens, and what it will be compared by.

Neighbours: `gates` and `decontaminate` decide, `duplicates` and `meaning` make sketches and vectors; `workers` runs judges in processes;
`curate` compares the results. Invariant: the verdict on a row depends on that row and the judge alone, so how rows are divided among
processes changes nothing. Cost: a few ms a document of 1,200 tokens, 2 KiB a row kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msm.synth import gates
from msm.synth.decontaminate import EvalItem, ItemIndex, asked_text, index_items
from msm.synth.duplicates import PERMUTATIONS, shingles, sketches
from msm.synth.gates import Drop, RowGates
from msm.synth.meaning import Meaning
from msm.synth.source import Row
from msm.synth.words import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CountTokens = Callable[[Sequence[str]], Sequence[int]]
"""Tokens of each text, by the base model's tokenizer."""
Encode = Callable[[Sequence[str]], Sequence[Sequence[int]]]
"""Token ids of each text, by the base model's tokenizer."""
Stratum = tuple[str, str]
"""(genre, first assertion) of a row's provenance; "" where it has none."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Verdicts on rows in order; `drops` by the row's place. Sketches (rows, PERMUTATIONS) and unit vectors (rows, 0 without a table) are
    zero where a row is dropped.
    """

    ids: tuple[str, ...]
    strata: tuple[Stratum, ...]
    tokens: tuple[int, ...]
    drops: Mapping[int, Drop]
    sketches: "NDArray[np.uint32]"
    vectors: "NDArray[np.float32]"


@dataclass(frozen=True, slots=True)
class Semantics:
    """The gates by meaning: the model's vectors, its tokenizer, and the eval items with the cosine from which a passage holds one."""

    meaning: Meaning
    encode: Encode
    vectors: bool = True
    contamination: float | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges rows; without `semantics` by words alone."""

    gates: RowGates
    items: tuple[EvalItem, ...]
    count: CountTokens
    semantics: Semantics | None = None
    _index: ItemIndex = field(init=False)
    _asked: "NDArray[np.float32] | None" = field(init=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", index_items(self.items))
        if self.semantics is not None and self.semantics.contamination is not None and self.items:
            object.__setattr__(self, "_asked", _item_vectors(self.items, self.semantics))

    def rows(self, rows: Sequence[Row]) -> Judged:
        """The verdicts on some rows."""
        import numpy as np

        texts = [str(row["text"]) for row in rows]
        ids = self.semantics.encode(texts) if self.semantics is not None else None
        tokens = self.count(texts) if ids is None else [len(each) for each in ids]
        drops: dict[int, Drop] = {}
        left: dict[int, NDArray[np.uint64]] = {}
        for place, row in enumerate(rows):
            spoken = words(texts[place])
            if drop := self.gates.judge(row, tokens[place]) or self._contaminated(spoken, ids[place] if ids is not None else ()):
                drops[place] = drop
            else:
                left[place] = shingles(spoken)
        sketched = np.zeros((len(rows), PERMUTATIONS), dtype=np.uint32)
        sketched[list(left)] = sketches(list(left.values()))
        vectors = self._vectors(ids or (), len(rows), left)
        return Judged(tuple(str(r["id"]) for r in rows), tuple(map(stratum, rows)), tuple(tokens), drops, sketched, vectors)

    def _contaminated(self, spoken: Sequence[str], ids: Sequence[int]) -> Drop | None:
        if match := self._index.match_words(spoken):
            return Drop(gates.CONTAMINATED, str(match))
        if self.semantics is None or self._asked is None:
            return None
        close = (self.semantics.meaning.passages(ids) @ self._asked.T).max(axis=0)
        at = int(close.argmax())
        if close[at] < (self.semantics.contamination or 0):
            return None
        return Drop(gates.CONTAMINATED_IN_MEANING, f"{self.items[at].id}: {asked_text(self.items[at])} ({close[at]:.2f})")

    def _vectors(self, ids: Sequence[Sequence[int]], rows: int, left: Iterable[int]) -> "NDArray[np.float32]":
        import numpy as np

        if self.semantics is None or not self.semantics.vectors:
            return np.empty((rows, 0), dtype=np.float32)
        meaning = self.semantics.meaning
        vectors = np.zeros((rows, meaning.table.shape[1]), dtype=np.float32)
        for place in left:
            vectors[place] = meaning.document(ids[place])
        return vectors


def joined(parts: Sequence[Judged]) -> Judged:
    """Verdicts on consecutive rows as one."""
    import numpy as np

    ids, strata, tokens = ([each for part in parts for each in getattr(part, name)] for name in ("ids", "strata", "tokens"))
    drops: dict[int, Drop] = {}
    start = 0
    for part in parts:
        drops |= {start + place: drop for place, drop in part.drops.items()}
        start += len(part.ids)
    sketched, vectors = np.concatenate([part.sketches for part in parts]), np.concatenate([part.vectors for part in parts])
    return Judged(tuple(ids), tuple(strata), tuple(tokens), drops, sketched, vectors)


def stratum(row: Row) -> Stratum:
    """What a budget is spread over: genre and first assertion, as the author recorded them."""
    provenance = row.get("provenance") or {}
    found = provenance.get("assertions") or [provenance.get("assertion", "")]
    first = found[0] if isinstance(found, list) else found
    return str(provenance.get("genre", provenance.get("docType", ""))), str(first)


def _item_vectors(items: Sequence[EvalItem], semantics: Semantics) -> "NDArray[np.float32]":
    import numpy as np

    return np.stack([semantics.meaning.document(ids) for ids in semantics.encode([asked_text(item) for item in items])])
