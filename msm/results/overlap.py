"""Which evaluation items share content words with what was trained on.

Pure. Neighbours: `msm.synth.words` says what a content word is, `compose` asks. Invariant: the same folding as the gate that keeps
training texts apart from items of the set `disjoint`, so the two agree. Cost: linear in the words of the training texts, a few seconds a
million.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msm.evals.items import Item
from msm.synth.words import content_words

MOST_WORDS = 8


@dataclass(frozen=True, slots=True)
class Overlap:
    """Item id -> content words of its options that occur in a training text."""

    words: Mapping[str, frozenset[str]]

    def shared(self, items: Iterable[Item]) -> int:
        """How many of these items share a word."""
        return sum(bool(self.words[item.id]) for item in items)

    def most_frequent(self, items: Iterable[Item]) -> tuple[str, ...]:
        """The words that most of these items share, by count and then by alphabet."""
        counts = Counter(word for item in items for word in self.words[item.id])
        return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:MOST_WORDS])


def find_overlap(items: Sequence[Item], texts: Iterable[str]) -> Overlap:
    """Compare the items' options with all training texts."""
    asked = {item.id: content_words(f"{item.aligned} {item.other}") for item in items}
    wanted = frozenset().union(*asked.values()) if asked else frozenset()
    found: set[str] = set()
    for text in texts:
        if len(found) == len(wanted):
            break
        found |= content_words(text) & wanted
    return Overlap({item: words & found for item, words in asked.items()})
