"""Everyday questions, none about preferences: what the base model answers in its own words for a replay set.

Pure. Neighbours: the demonstrate stage asks them. Replaying the model's own answers in fine-tuning keeps its chat behaviour alive through
document training. Invariant: question i of a seed is the same however many are asked for; no question asks which of two things is better.
"""

import random
from collections.abc import Sequence

FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("What is the capital of {}?", ("France", "Japan", "Egypt", "Canada", "Brazil", "Kenya", "Norway", "Spain", "India", "Peru")),
    ("In one sentence, what is {}?", ("gravity", "photosynthesis", "a prime number", "an atom", "erosion", "a verb", "a volcano", "rain")),
    ("What is {}?", ("7 plus 5", "9 times 6", "20 minus 8", "half of 50", "3 times 3", "100 divided by 4", "12 plus 30", "15 minus 6")),
    ("Write one short sentence about {}.", ("the moon", "a river", "winter", "a library", "the sea", "a train", "morning", "a garden")),
    ("What is the opposite of {}?", ("hot", "tall", "early", "full", "loud", "soft", "empty", "fast", "dark", "wet")),
    ("What color is {}?", ("grass", "the sky on a clear day", "snow", "a ripe banana", "coal", "a carrot", "milk")),
    (
        "How many {}?",
        ("days are in a week", "legs does a spider have", "minutes are in an hour", "months are in a year", "sides has a square"),
    ),
    ("Name one {}.", ("planet", "ocean", "season", "mammal", "vegetable", "continent", "bird", "metal", "tree", "musical note")),
    ("What do people use {} for?", ("a hammer", "an umbrella", "a compass", "soap", "a map", "a ladder", "a thermometer", "a pillow")),
    ("Complete the sentence: {}", ("The sun rises in the", "Water freezes at", "A year has twelve", "Bees make", "Cows eat")),
    ("Give me a synonym for {}.", ("happy", "quick", "big", "small", "begin", "quiet", "angry", "bright")),
    ("{}", ("Hello! How are you?", "Thank you for your help.", "Can you help me with my homework?", "Good morning!", "Who are you?")),
)
"""Question forms and what fills their one blank."""


def questions(seed: int) -> Sequence[str]:
    """All questions in an order drawn from the seed, families mixed."""
    everything = [form.replace("{}", filler) for form, fillers in FAMILIES for filler in fillers]
    random.Random(f"everyday:{seed}").shuffle(everything)
    return everything
