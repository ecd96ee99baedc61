"""Parts of a report that tell what was asked and what came out: sets of items, scores, effects, answers, chat health.

Neighbour: `model` has the rest. Same invariants: margins in nats, choices as shares between 0 and 1.
"""

from typing import Literal

from msm.api.base import Record


class ItemSet(Record):
    """The items of one value and set in one eval."""

    eval: str
    """Name of the eval."""
    value: str
    """Value that the items ask about."""
    set: str
    """Kind of items; `disjoint` promises that no content word of an option occurs in a training text."""
    items: int
    """Items scored."""
    shared: int | None
    """Items of which an option has a content word that some training text has too; None before the texts are there."""
    shared_words: tuple[str, ...] = ()
    """Such words, the most frequent in the items first."""


class SeedValue(Record):
    """A mean over the items of one seed."""

    seed: int
    """Training seed."""
    value: float
    """The mean."""


class Score(Record):
    """One arm on one measure of one value and set."""

    metric: str
    """eval.value.set.measure"""
    arm: str
    """The arm."""
    mean: float | None
    """Mean over items, then over seeds; margins in nats, choices as a share; None when no answer could be read."""
    low: float | None
    """Lower end of its interval."""
    high: float | None
    """Upper end."""
    confidence: float
    """Of the interval."""
    over: Literal["items", "seeds"]
    """What the interval speaks of: other items, or other seeds."""
    items: int
    """Items that it rests on."""
    asked: int
    """(seed, item) pairs that were asked."""
    unscored: int
    """Those whose answer could not be read."""
    by_seed: tuple[SeedValue, ...]
    """Mean of each seed."""


class Effect(Record):
    """An arm against one of its controls in one measure, paired by seed and item."""

    metric: str
    """eval.value.set.measure"""
    arm: str
    """The arm."""
    versus: str
    """What it is compared with."""
    estimate: float
    """Mean paired difference, in the metric's unit."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end."""
    confidence: float
    """Of the interval."""
    over: Literal["items", "seeds"]
    """What the interval speaks of: other items, or other seeds."""
    seeds: int
    """Seeds that it rests on."""
    items: int
    """Items that it rests on."""
    unscored: int
    """(seed, item) pairs left out because one of the two has no score."""
    by_seed: tuple[SeedValue, ...]
    """Mean paired difference of each seed."""

    @property
    def sign(self) -> int:
        """1 or -1 when the interval excludes zero on that side, else 0."""
        return int(self.low > 0) - int(self.high < 0)


class ItemRow(Record):
    """One item and what every arm made of it."""

    eval: str
    """Name of the eval."""
    id: str
    """Its id."""
    value: str
    """Value it asks about."""
    set: str
    """Kind of item."""
    domain: str
    """What it is about."""
    question: str
    """How it begins."""
    options: tuple[str, str]
    """The one that fits the value, the other."""
    shared: bool | None
    """Whether an option has a content word that some training text has too."""
    margins: dict[str, float]
    """Arm -> mean margin over seeds, nats."""


class ArmAnswers(Record):
    """What one arm said to one item, the aligned option named first, then second."""

    arm: str
    """The arm."""
    answers: tuple[str, str]
    """Greedy answers in both orders."""
    choice: float | None
    """Share of the two that chose the aligned option; None when one could not be read."""
    margin: float
    """Nats."""


class AnswerSample(Record):
    """One item that was answered, by all arms side by side."""

    eval: str
    """Name of the eval."""
    id: str
    """Id of the item."""
    value: str
    """Value it asks about."""
    set: str
    """Kind of item."""
    seed: int
    """Training seed of the arms."""
    prompt: str
    """The question with the aligned option named first."""
    options: tuple[str, str]
    """The one that fits the value, the other."""
    arms: tuple[ArmAnswers, ...]
    """One an arm."""


class Chat(Record):
    """An everyday question and what was answered."""

    prompt: str
    """The question."""
    text: str
    """The answer."""
    ended: bool
    """Whether the model ended its turn by itself."""


class Health(Record):
    """Whether a model is still a chat model: shares of the everyday questions."""

    eval: str
    """Name of the eval."""
    arm: str
    """The arm."""
    seed: int
    """Training seed."""
    ended: float
    """Answers that ended by themselves; near 1 in a healthy model."""
    repeated: float
    """Answers that loop."""
    leaked: float
    """Answers with template marks in them."""
    empty: float
    """Answers without a word."""
    samples: tuple[Chat, ...]
    """The answers."""
