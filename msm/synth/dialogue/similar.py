"""Which questions repeat earlier ones: by words, and by meaning where vectors are given.

Pure. Neighbours: `make` drops by it in every round, backfill included. Invariant: the first of similar questions stays; what was known
before is never dropped for what is new. Cost: near linear by words; by vectors one product of new x all.
"""

from collections.abc import Sequence

from msm.synth.dialogue.settings import Embed
from msm.synth.duplicates import near_duplicates


def repeated(
    new: Sequence[str], known: Sequence[str], threshold: float, embed: Embed | None = None, cosine: float | None = None
) -> list[bool]:
    """For each new question whether it repeats a known or an earlier new one: from `threshold` on by words, above `cosine` by meaning."""
    if not new:
        return []
    texts = [*known, *new]
    lexical = [found is not None for found in near_duplicates(texts, threshold)][len(known) :]
    if embed is None or cosine is None:
        return lexical
    semantic = _close(embed(texts), len(known), lexical, cosine)
    return [a or b for a, b in zip(lexical, semantic, strict=True)]


def _close(vectors: Sequence[Sequence[float]], known: int, out: Sequence[bool], cosine: float) -> list[bool]:
    """New rows with a cosine above `cosine` to a row before them that is not out itself."""
    import numpy as np

    unit = np.asarray(vectors, dtype=np.float32)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    alive = np.ones(len(unit), dtype=bool)
    for number in range(known, len(unit)):
        near = unit[:number][alive[:number]] @ unit[number]
        alive[number] = not out[number - known] and not bool((near > cosine).any())
    return [not bool(alive[number]) and not out[number - known] for number in range(known, len(unit))]
