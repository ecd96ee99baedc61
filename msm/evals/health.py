"""Is a model still a chat model: does it answer everyday questions, end its turn, without loops or leaked template marks.

Pure. Neighbour: `preference` generates the answers. Training on raw documents can break the chat format while margins still look fine
(reported by re-implementers of the method), so every arm is asked. Invariant: a rate is a share of the prompts asked, each answer is kept.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PROMPTS = (
    "What is the capital of France? Answer in one short sentence.",
    "Name three colors.",
    "How many days are in a week? Answer in one short sentence.",
    "Say hello to a new neighbor in one sentence.",
    "What color is the sky on a clear day? Answer in one short sentence.",
    "Which season comes after winter? Answer in one short sentence.",
)
"""Our everyday questions; each can be answered in a sentence, so that a healthy model ends its turn within the limit."""

ROLE_LINE = re.compile(r"(?:^|\n)\s*(?:system|user|assistant|human|ai)\s*(?::|\n|$)", re.IGNORECASE)
LONGEST_LOOP = 16
LOOPS = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """One everyday question, what the model said, and what is wrong with it."""

    prompt: str
    text: str
    ended: bool
    repeated: bool
    leaked: bool
    empty: bool


@dataclass(frozen=True, slots=True)
class Health:
    """Shares of the everyday questions (0..1); a healthy chat model has ended near 1 and the others at 0."""

    ended: float
    repeated: float
    leaked: float
    empty: float
    samples: tuple[Answer, ...]


def judge(prompt: str, tokens: Sequence[int], text: str, marked: str, ended: bool, marks: Iterable[str]) -> Answer:
    """Judge one answer: its tokens, `text` without special tokens, `marked` with them, `marks` = the tokenizer's special tokens."""
    leaked = any(mark in marked for mark in marks) or ROLE_LINE.search(text) is not None
    return Answer(prompt, text, ended, is_loop(tokens), leaked, re.search(r"\w", text) is None)


def is_loop(tokens: Sequence[int]) -> bool:
    """Tell whether some run of up to 16 tokens stands three times in a row (runs of one: six times, "ha ha ha" is no loop)."""
    return any(_has_run(tokens, size, LOOPS if size > 1 else 2 * LOOPS) for size in range(1, LONGEST_LOOP + 1))


def _has_run(tokens: Sequence[int], size: int, times: int) -> bool:
    matching = 0
    for at in range(size, len(tokens)):
        matching = matching + 1 if tokens[at] == tokens[at - size] else 0
        if matching >= size * (times - 1):
            return True
    return False


def rates(answers: Sequence[Answer]) -> Health:
    """Sum answers up; raises ValueError for none."""
    if not answers:
        raise ValueError("a health check needs at least one answer")

    def share(flags: Iterable[bool]) -> float:
        return sum(flags) / len(answers)

    return Health(
        ended=share(a.ended for a in answers),
        repeated=share(a.repeated for a in answers),
        leaked=share(a.leaked for a in answers),
        empty=share(a.empty for a in answers),
        samples=tuple(answers),
    )
