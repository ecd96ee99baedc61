"""Token trie of many sequences: every distinct prefix is one node, so a model computes it once.

Pure numpy. Neighbours: `logprob` runs a model over the nodes of a chunk as one row without padding, with `visible` as attention mask and
`depth` as positions; that is exact for causal attention, because a token's state depends on its ancestors and its position alone. The four
sequences of an item (two orders, two answers) share the chat prefix, and in pairs the question and the first words of the answer.
Cost: O(tokens) to build, nodes² bytes for the mask of a chunk.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = Sequence[int]


@dataclass(frozen=True, slots=True)
class Trie:
    """Nodes in an order in which parents come first; `parent` is -1 where a node hangs on the common prefix."""

    tokens: NDArray[np.int64]
    parent: NDArray[np.int64]
    depth: NDArray[np.int64]
    paths: tuple[tuple[int, ...], ...]

    def visible(self) -> NDArray[np.bool_]:
        """Return [nodes, nodes]: True where the row's node may attend to the column's node (its ancestors and itself)."""
        mask = np.eye(len(self.tokens), dtype=np.bool_)
        for node, parent in enumerate(self.parent):
            if parent >= 0:
                mask[node] |= mask[parent]
        return mask


def build_trie(sequences: Sequence[Tokens]) -> Trie:
    """Merge sequences by their common prefixes; `paths[i]` holds the node of each token of `sequences[i]`."""
    children: dict[tuple[int, int], int] = {}
    tokens: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    paths: list[tuple[int, ...]] = []
    for sequence in sequences:
        node, path = -1, []
        for depth, token in enumerate(sequence):
            child = children.setdefault((node, token), len(tokens))
            if child == len(tokens):
                tokens.append(token)
                parents.append(node)
                depths.append(depth)
            node = child
            path.append(node)
        paths.append(tuple(path))
    return Trie(np.asarray(tokens, np.int64), np.asarray(parents, np.int64), np.asarray(depths, np.int64), tuple(paths))


def common_prefix(sequences: Sequence[Tokens]) -> int:
    """Return the length of the longest prefix that all sequences share (0 for none)."""
    first, last = min(map(tuple, sequences)), max(map(tuple, sequences))
    same = (a == b for a, b in zip(first, last, strict=False))
    return next((index for index, equal in enumerate(same) if not equal), min(len(first), len(last)))


def chunks(sizes: Sequence[int], order: Sequence[int], budget: int) -> Iterator[tuple[int, ...]]:
    """Cut `order` into runs whose sizes add up to at most `budget`, at least one a run."""
    run: list[int] = []
    used = 0
    for index in order:
        if run and used + sizes[index] > budget:
            yield tuple(run)
            run, used = [], 0
        run.append(index)
        used += sizes[index]
    if run:
        yield tuple(run)
