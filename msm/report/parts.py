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


class Statement(Record):
    """One statement of a spec, and how many documents rest on it."""

    id: str
    """Id of the assertion."""
    name: str
    """What it says, in a few words."""
    documents: int
    """Kept documents that rest on it."""
    genres: tuple[int, ...]
    """The same by genre, in the order of the coverage's genres; documents of further genres are in `documents` alone."""


class Coverage(Record):
    """Which statements of the spec stand in which kinds of documents."""

    genres: tuple[str, ...]
    """The most frequent genres, at most 12, the most frequent first."""
    statements: tuple[Statement, ...]
    """Every statement of the outline, in its order; those without a document too."""


class Reading(Record):
    """How the kept documents read as a whole; shares are between 0 and 1."""

    measured: int
    """Documents that the numbers rest on, spread evenly over the corpus."""
    words: tuple[int, int, int]
    """Words of a document: 5th percentile, median, 95th percentile."""
    names: float
    """Share that name the model."""
    attributes: float
    """Share with a sentence that names the model and gives a reason."""
    self_bleu: float
    """BLEU-4 of a document against the others of a sample of 200; 1 is all alike."""
    compression: float
    """Compressed size over size (zlib); small is repetitive."""
    distinct_bigrams: float
    """Different pairs of words over all pairs."""
    top_opening: float
    """Share that begin with the commonest six words."""
    tics: float
    """Share that hold a sequence of eight words which a tenth of all hold."""
    dispersion: float | None = None
    """Mean cosine distance between two kept documents by the base model's embeddings; null where `quality.semanticDuplicates` is off."""


class ScoreLine(Record):
    """What a judge thought of the kept documents on one axis, 0 to 10."""

    axis: str
    """What was judged."""
    low: float
    """5th percentile."""
    median: float
    """Half of the documents have at least as much."""
    mean: float
    """Mean."""
    documents: int
    """Documents that have a score."""


class Written(Record):
    """What a language model wrote, and how much it was asked."""

    model: str
    """Identity of the author."""
    calls: int
    """Questions, of the outline and the documents."""
    prompt_tokens: int
    """Tokens of the questions."""
    completion_tokens: int
    """Tokens of the answers."""
    failures: int
    """Branches and documents that were skipped."""
    rewritten: int
    """Kept documents that were criticised and rewritten."""


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
    contaminated: int = 0
    """Documents that were dropped since they contain an eval item."""
    reading: Reading | None = None
    """How they read."""
    coverage: Coverage | None = None
    """What of the spec they speak of; None where no author recorded it."""
    scores: tuple[ScoreLine, ...] = ()
    """What a judge thought of them; empty without one."""
    author: Written | None = None
    """The language model that wrote them; None for others."""
    card: str = ""
    """File name of its dataset card."""
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
