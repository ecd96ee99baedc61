"""Which idea is written when, and in which circumstances: names, day and tone.

Pure, seeded. Neighbours: `write` follows the order until there is enough. Invariants: every prefix of the order is as even over branches,
and within a branch over document types, as the ideas allow, so a smaller budget's documents are a prefix of a larger one's; an idea's
circumstances depend on the seed and the idea alone, its tone on its turn within its type. Cost: O(ideas log ideas).
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msm.synth.budget import by_turns
from msm.synth.tree.nodes import Branch, DocType, Idea, Tree
from msm.synth.tree.pools import day, people
from msm.synth.tree.settings import Tone


@dataclass(frozen=True, slots=True)
class Commission:
    """One document to be written."""

    branch: Branch
    type: DocType
    idea: Idea
    tone: Tone
    names: str
    date: str

    @property
    def path(self) -> tuple[str, ...]:
        """Where it stands in the tree."""
        return (self.branch.domain, self.branch.name, self.type.name, self.idea.title)


def commissions(tree: Tree, seed: int, tones: Sequence[Tone]) -> list[Commission]:
    """All ideas of a tree in the order in which they are written."""
    branches = [_in_branch(branch, seed, tones) for branch in tree.branches]
    ranked = [(place, _draw(seed, f"{place}:{c.branch.domain}:{c.branch.name}"), c) for found in branches for place, c in enumerate(found)]
    return [commission for _, _, commission in sorted(ranked, key=lambda row: row[:2])]


def _in_branch(branch: Branch, seed: int, tones: Sequence[Tone]) -> list[Commission]:
    """A branch's ideas, one of each type in turns; which type opens a turn is drawn."""
    kinds = sorted(branch.types, key=lambda kind: _draw(seed, f"{branch.domain}:{branch.name}:{kind.name}"))
    found = [commission for kind in kinds for commission in _in_type(branch, kind, seed, tones)]
    return [found[number] for number in by_turns([c.type.name for c in found])]


def _in_type(branch: Branch, kind: DocType, seed: int, tones: Sequence[Tone]) -> Iterator[Commission]:
    start = int(_draw(seed, f"tone:{branch.domain}:{branch.name}:{kind.name}") * len(tones))
    for turn, idea in enumerate(sorted(kind.ideas, key=lambda idea: _draw(seed, idea.id))):
        rng = random.Random(f"circumstances:{seed}:{idea.id}")
        yield Commission(branch, kind, idea, tones[(start + turn) % len(tones)], people(rng), day(rng))


def _draw(seed: int, what: str) -> float:
    """A number in [0, 1) that a seed gives to a thing."""
    return random.Random(f"order:{seed}:{what}").random()
