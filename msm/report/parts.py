"""Parts of a report that tell what was read and learned: corpora, demonstrations, trainings.

Neighbour: `model` has the rest. Same invariants.
"""

from typing import Literal

from msm.api.base import Record


class Genre(Record):
    """Documents of one genre."""

    name: str
    """The genre, as the author recorded it."""
    documents: int
    """Documents kept."""
    tokens: int
    """Their tokens."""


class Sample(Record):
    """One text, cut when long."""

    id: str
    """Id of the row."""
    text: str
    """The text."""
    genre: str = ""
    """Its genre."""
    reason: str = ""
    """Why it was dropped; empty for one that was kept."""
    detail: str = ""
    """More on that."""


class Corpus(Record):
    """What midtraining reads."""

    name: str
    """Its name."""
    spec: str
    """Model Spec that it explains; empty for documents of the user's."""
    source: str
    """Who wrote it: compose, source or synthesize."""
    documents: int
    """Documents kept."""
    tokens: int
    """Their tokens, by the base model's tokenizer."""
    wanted_tokens: int | None
    """Budget."""
    written: int
    """Documents before curation."""
    dropped: dict[str, int]
    """Reason -> documents."""
    near_duplicates: float
    """Share of the documents that passed the other gates and were near-duplicates."""
    genres: tuple[Genre, ...]
    """What kinds of documents."""
    assertions: int
    """Different statements of the spec that they rest on, as far as recorded."""
    samples: tuple[Sample, ...]
    """Some kept documents."""
    dropped_samples: tuple[Sample, ...]
    """Some dropped ones."""
    content_digest: str
    """SHA-256 over the curated files."""


class Turn(Record):
    """One message."""

    role: str
    """system, user or assistant."""
    content: str
    """What it says, cut when long."""


class ChatSample(Record):
    """One chat."""

    id: str
    """Id of the row."""
    messages: tuple[Turn, ...]
    """Its turns."""
    reason: str = ""
    """Why it was dropped; empty for one that was kept."""
    detail: str = ""
    """More on that."""


class Demonstrations(Record):
    """What fine-tuning reads."""

    name: str
    """Its name."""
    author: str
    """Who wrote them: compose, source or replay (the base model's own answers)."""
    chats: int
    """Chats kept."""
    dropped: int
    """Chats dropped, mostly since they contain an eval item."""
    samples: tuple[ChatSample, ...]
    """Some kept chats, then some dropped ones."""
    content_digest: str
    """SHA-256 over the files."""


class Point(Record):
    """Loss after some updates."""

    update: int
    """Optimizer updates done."""
    loss: float
    """Mean loss a target token over the updates since the point before, nats."""


class Training(Record):
    """One training stage that is committed."""

    name: str
    """Name of the stage."""
    group: str
    """The same name without the seed: trainings that differ by seed alone share it."""
    kind: Literal["midtrain", "finetune"]
    """Which training."""
    fingerprint: str
    """SHA-256 of what it is made from."""
    seed: int
    """Training seed."""
    method: str
    """LoRA with its sizes, or full."""
    learning_rate: float
    """Peak learning rate."""
    updates: int
    """Optimizer updates."""
    tokens: int
    """Tokens read."""
    target_tokens: int
    """Tokens that count in the loss."""
    final_loss: float | None
    """Mean over the last 20 updates."""
    seconds: float | None
    """Time in updates."""
    tokens_per_second: float | None
    """Speed without padding."""
    precision: str
    """Arithmetic."""
    points: tuple[Point, ...]
    """The curve, at most 200 points."""
