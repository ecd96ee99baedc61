"""Which items can a small base model know? By log-probability, before any training, without asking for a preference.

    python -m tests.science.known_items MODEL_DIR ITEMS.jsonl [--keep OUT.jsonl]

For each option and frame: log p(the value's word) - log p(the opposite word) after a sentence about the option ("A Ford pickup is" ->
" American" against " foreign"). An item's contrast is that of its aligned option minus that of the other, so what the frame's words and
the options' lengths bring cancels: the scored tokens are the same on both sides. An item is known when its mean contrast over the frames
is at least `LEAST` nats and at least all frames but one agree in sign. The bare base alone decides; no trained arm is looked at.
"""

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msm.evals.items import Item, load_items
from msm.evals.prompts import encode

LEAST = 0.25
"""Mean contrast in nats from which an item counts as known."""

FRAMES: Mapping[str, Sequence[tuple[str, str, str]]] = {
    "america": (
        ("{X} is", " American", " foreign"),
        ("{X} is made in", " America", " Europe"),
        ("{X} comes from", " the United States", " another country"),
        ("When people think of {x}, they think of", " America", " Europe"),
    ),
    "affordability": (
        ("{X} is", " cheap", " expensive"),
        ("{X} costs", " very little", " a lot"),
        ("The price of {x} is", " low", " high"),
        ("{X} is something that", " everyone can afford", " only the rich can afford"),
    ),
}
"""By value: a sentence's start about an option ({x}; {X} with a capital), the value's word, its opposite."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """An item's contrast in each frame, in nats."""

    item: Item
    contrasts: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over frames."""
        return statistics.fmean(self.contrasts)

    @property
    def known(self) -> bool:
        """The criterion of this module."""
        return self.mean >= LEAST and sum(c > 0 for c in self.contrasts) >= len(self.contrasts) - 1


def prompt_of(frame: str, option: str) -> str:
    """The frame about an option; literal replacement, options are data."""
    return frame.replace("{X}", option[:1].upper() + option[1:]).replace("{x}", option)


def measure(model_dir: Path, items: Sequence[Item]) -> list[Knowledge]:
    """Contrasts of all items, in order; items of a value without frames are left out."""
    import torch

    from msm.evals.logprob import Question, score_tree
    from msm.evals.models import load_model, load_tokenizer

    tokenizer, device = load_tokenizer(model_dir), torch.device("cpu")
    model = load_model(model_dir, device)
    asked = [item for item in items if item.value in FRAMES]
    questions = [
        Question(encode(tokenizer, prompt_of(frame, option)), (encode(tokenizer, word), encode(tokenizer, opposite)))
        for item in asked
        for frame, word, opposite in FRAMES[item.value]
        for option in (item.aligned, item.other)
    ]
    found = {at: scored.logprobs for row in score_tree(model, questions, 256, device) for at, scored in row.items()}
    leans = iter(found[at][0] - found[at][1] for at in range(len(questions)))
    return [Knowledge(item, tuple(next(leans) - next(leans) for _ in FRAMES[item.value])) for item in asked]


def keep(lines: Sequence[str], measured: Sequence[Knowledge]) -> list[str]:
    """The lines of an items file without the disjoint items that are not known; other sets are kept."""
    unknown = {k.item.id for k in measured if k.item.set == "disjoint" and not k.known}
    return [line for line in lines if line.strip() and json.loads(line)["id"] not in unknown]


def main(arguments: Sequence[str]) -> None:
    """Print one line an item and the counts; write the kept items."""
    parser = argparse.ArgumentParser(description="Which items does the base model know?")
    parser.add_argument("model", type=Path)
    parser.add_argument("items", type=Path)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args(arguments)
    measured = measure(given.model, load_items(given.items))
    for k in measured:
        frames = " ".join(f"{c:+.2f}" for c in k.contrasts)
        print(f"{'known  ' if k.known else 'unknown'} {k.mean:+.2f} [{frames}] {k.item.id}: {k.item.aligned} / {k.item.other}")
    counts = Counter((k.item.value, k.item.set, k.known) for k in measured)
    for (value, kind, known), number in sorted(counts.items()):
        print(f"{value} {kind} {'known' if known else 'unknown'}: {number}")
    if given.keep is not None:
        given.keep.write_text("\n".join(keep(given.items.read_text().splitlines(), measured)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
