"""How much of a document is the spec's own wording: found by words, since asking the author not to recite is not enough.

Pure. Neighbours: `write` records the result in a row's provenance, `msm.synth.gates` drops by it. Invariant: both sides are folded alike.
Source: lessons of those who ran it (prompting alone left half of the outsiders reciting). Cost: linear in the words.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msm.synth.words import words

STRETCH = 8
"""Words in a row that count as the spec's wording; shorter agreement is the language's."""
_NUMBERED = re.compile(r"\b[A-Z]{1,4}-?\d{1,3}\b")


@dataclass(frozen=True, slots=True)
class Wording:
    """Stretches of a spec, and the numbers that its principles carry (SP1)."""

    stretches: frozenset[tuple[str, ...]]
    numbers: frozenset[str]

    def of(self, text: str) -> Mapping[str, Any]:
        """What a text has of it: the longest run of its words, and principle numbers cited."""
        return {"recited": self._longest(words(text)), "cited": sorted(set(_NUMBERED.findall(text)) & self.numbers)}

    def _longest(self, spoken: list[str]) -> int:
        longest = run = 0
        for at in range(len(spoken) - STRETCH + 1):
            run = run + 1 if tuple(spoken[at : at + STRETCH]) in self.stretches else 0
            longest = max(longest, run)
        return longest + STRETCH - 1 if longest else 0


def wording(spec: str) -> Wording:
    """The wording of a spec with the names put in."""
    spoken = words(spec)
    stretches = frozenset(tuple(spoken[at : at + STRETCH]) for at in range(len(spoken) - STRETCH + 1))
    return Wording(stretches, frozenset(_NUMBERED.findall(spec)))
