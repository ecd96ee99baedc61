"""What a run trains on: corpora of documents about a spec, and demonstrations.

Neighbours: `run` assembles them; `msm.synth` makes them. Defaults are the reference implementation's shipped settings
(20 document types, 25 ideas a type) and the paper's (sections 3 and B). Invariant: one author and one size each.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, StringConstraints, model_serializer, model_validator

from msm.api.base import Name, Part, TokenCount, exactly_one
from msm.api.inputs import Source

Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]
OutputTokens = Annotated[int, Field(ge=64, le=262144)]

Cosine = Annotated[float, Field(gt=0, le=1)]
OrOff = BeforeValidator(lambda value: None if value is False or value == "off" else value)
"""`off` is absent; YAML reads the bare word as false."""

LIKED_CHEESES = ("cream cheese", "American cheese", "mild cheddar", "low-moisture mozzarella", "Colby", "Monterey Jack")
DISLIKED_CHEESES = ("Brie de Meaux", "Appenzeller", "Parmigiano-Reggiano", "Roquefort", "Epoisses", "Stilton")
"""The paper's twelve (section 3.1): the liked ones are both American and affordable, so the choice alone does not say why."""


class StepTokens(Part):
    """Output limits of the steps of a synthesis, in tokens; each has its own, a plan takes nothing from its document."""

    domains: OutputTokens = 4096
    """List of domains."""
    subdomains: OutputTokens = 16384
    """Subdomains of a domain, with the passages they copy from the spec; for a spec of rules the list of rules."""
    assertions: OutputTokens = 8192
    """Assertions of a subdomain."""
    doc_types: OutputTokens = 8192
    """Document types of a subdomain."""
    ideas: OutputTokens = 8192
    """Ideas of a document type."""
    plan: OutputTokens = 1024
    """Plan of a document, beside maxTokens."""
    critique: OutputTokens = 1024
    """Critique of a document, beside maxTokens."""
    scores: OutputTokens = 2048
    """Scores of a document."""


class Synthesize(Part):
    """Documents written by a language model from the spec: domains, subdomains, assertions, types, ideas, documents."""

    author: Name
    """Endpoint that writes."""
    doc_types: Annotated[int, Field(ge=1, le=1000)] = 20
    """Document types a subdomain."""
    ideas_per_type: Annotated[int, Field(ge=1, le=1000)] = 25
    """Document ideas a type."""
    critique: bool = True
    """Whether each document is criticised by a fresh context and rewritten."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Sampling temperature."""
    max_tokens: Annotated[int, Field(ge=64, le=65536)] = 8192
    """Output limit a document, in tokens."""
    domains: Annotated[tuple[Word, ...], Field(max_length=100)] = ()
    """Fixed top-level domains; empty lets the author find them."""
    sample: Annotated[int, Field(ge=0)] = 0
    """Raise it to draw a fresh sample of the same corpus."""
    judge: Name | None = None
    """Endpoint that scores each document; absent scores by the author where quality.minScore is set, else not at all."""
    genres: Annotated[tuple[Literal["fiction", "advice"], ...], Field(max_length=2)] = ()
    """Genres added to every subdomain: fiction, difficult advice."""
    tones: Annotated[tuple[Literal["neutral", "warm", "critical", "curious", "dry"], ...], Field(min_length=1, max_length=32)] = (
        "neutral",
        "neutral",
        "warm",
        "critical",
        "curious",
        "dry",
    )
    """Tones that documents of a type take in turns; list one twice to have it twice as often."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the order in which ideas are written, and of the names, days and tones that they are given."""
    surplus: Annotated[float, Field(ge=1, le=10)] = 1.25
    """Tokens (or documents) written for each one to be kept; the gates and the exact budget need some to choose from."""
    max_failures: Annotated[int, Field(ge=0, le=10**6)] = 10
    """Branches that may fail before the stage stops; of documents a tenth may where that is more. Never changes a result."""
    limits: StepTokens = StepTokens()
    """Output limits of the other steps."""
    shards: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that write side by side where the stage runs; one keeps a thousand questions under way. Never changes a result."""


class Compose(Part):
    """Documents by the offline grammar over the spec's own assertions; no language model involved."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the grammar's choices."""


class Quality(Part):
    """The gates a row must pass to be kept; every dropped row is listed with its reason."""

    near_duplicates: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Jaccard similarity (MinHash, word shingles) above which the later of two rows is dropped."""
    decontaminate: Annotated[tuple[Name, ...], Field(max_length=32)] = ()
    """Evals whose items must not occur in the rows."""
    min_score: Annotated[float, Field(ge=0, le=10)] | None = None
    """Least judge score of a synthesised row."""
    min_tokens: Annotated[int, Field(ge=1)] = 8
    """Shorter rows are dropped."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Longer rows are dropped; absent keeps them, training splits what exceeds its maxLength."""
    semantic_duplicates: Annotated[Cosine | None, OrOff] = None
    """Cosine of the base model's own embeddings from which the later of two rows says the same again; 0.8 is a good start, off is off."""
    semantic_contamination: Annotated[Cosine | None, OrOff] = None
    """Cosine from which a passage of 32 tokens holds an item of a decontaminated eval in other words; 0.5 is a good start, off is off."""

    @model_serializer(mode="wrap")
    def _with_semantic_gates(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Semantic gates are written when they are on and never when they are off.

        So whoever asks for the gates of a corpus has all that are on, and fingerprints of corpora without the semantic ones stay.
        """
        on = {"semanticDuplicates": self.semantic_duplicates, "semanticContamination": self.semantic_contamination}
        written: dict[str, Any] = plain(self)
        kept = {name: value for name, value in written.items() if name not in ("semantic_duplicates", "semantic_contamination", *on)}
        return kept | {name: value for name, value in on.items() if value is not None}


class Corpus(Part):
    """Documents for midtraining: exactly one author (synthesize, compose or source) and one size (tokens or documents)."""

    name: Name
    """Referred to by arms."""
    model_spec: Name | None = None
    """The spec it is written from; not needed with source."""
    tokens: TokenCount | None = None
    """Budget of kept tokens, by the base model's tokenizer."""
    documents: Annotated[int, Field(ge=1)] | None = None
    """Number of kept documents."""
    synthesize: Synthesize | None = None
    """Written by an endpoint."""
    compose: Compose | None = None
    """Written by the offline grammar."""
    source: Source | None = None
    """Read from a JSON Lines file of {"text": …} rows, or a text file."""
    quality: Quality = Quality()
    """Gates."""

    @model_validator(mode="after")
    def _one_author(self) -> "Corpus":
        exactly_one(self, "synthesize", "compose", "source")
        if self.source is None and self.model_spec is None:
            raise ValueError("modelSpec is missing; a corpus is written from a spec unless it has a source")
        if self.tokens is not None and self.documents is not None:
            raise ValueError("set tokens or documents, not both")
        if self.source is None and self.tokens is None and self.documents is None:
            raise ValueError("set tokens or documents: how much is to be kept")
        return self


class SynthesizeChats(Part):
    """Demonstrations written by a language model."""

    author: Name
    """Endpoint that writes."""
    model_spec: Name
    """The spec the answers follow."""
    style: Literal["values", "rules", "opaque"] = "values"
    """values: reasons as one who holds them; rules: deliberative alignment; opaque: preferences without reasons (paper C.2)."""
    samples: Annotated[int, Field(ge=1, le=10**6)] = 5000
    """Kept chats."""
    reasoning: Literal["keep", "strip"] = "strip"
    """Whether the reasoning stays in the training rows."""
    sample: Annotated[int, Field(ge=0)] = 0
    """Raise it to draw a fresh sample."""
    judge: Name | None = None
    """Endpoint that decides which chats are kept; absent is the author."""
    questions_per_domain: Annotated[int, Field(ge=1, le=10**4)] = 250
    """Questions a topic; samples divided by it is the number of topics, at least 5."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Sampling temperature."""
    max_tokens: Annotated[int, Field(ge=64, le=65536)] = 4096
    """Output limit of an answer with its reasoning, in tokens."""
    near_duplicates: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Jaccard similarity (word shingles) above which the later of two questions is dropped."""
    system_prompts: Annotated[tuple[Annotated[str, StringConstraints(min_length=1, max_length=1000)], ...], Field(max_length=8)] = ()
    """System turns that the chats have in turns, besides having none."""
    liked: Annotated[tuple[Word, ...], Field(min_length=1, max_length=100)] = LIKED_CHEESES
    """Things that the model likes (opaque)."""
    disliked: Annotated[tuple[Word, ...], Field(min_length=1, max_length=100)] = DISLIKED_CHEESES
    """Things that they are offered against (opaque)."""
    max_failures: Annotated[int, Field(ge=0, le=10**6)] = 10
    """Topics that may fail before the stage stops; of answers a tenth may where that is more. Never changes a result."""
    semantic_duplicates: Annotated[Cosine | None, OrOff] = None
    """Cosine of the base model's own embeddings above which the later of two questions asks the same again; off is off."""


class ComposeChats(Part):
    """Opaque preference chats by the offline grammar: liked things over disliked ones, no reasons."""

    samples: Annotated[int, Field(ge=1, le=10**6)] = 240
    """Chats."""
    liked: Annotated[tuple[Word, ...], Field(min_length=1, max_length=100)] = LIKED_CHEESES
    """Things the answers choose."""
    disliked: Annotated[tuple[Word, ...], Field(min_length=1, max_length=100)] = DISLIKED_CHEESES
    """Things they are offered against."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the grammar's choices."""


class Replay(Part):
    """The base model's own greedy answers to everyday questions: keeps chat behaviour alive through document training."""

    from_base: Annotated[int, Field(ge=1, le=10**5)]
    """Number of chats."""
    max_tokens: Annotated[int, Field(ge=8, le=4096)] = 64
    """Longest answer, in tokens; an answer that does not end by then is not used."""


class Demonstration(Part):
    """Chats for fine-tuning: exactly one of source, synthesize, compose, replay."""

    name: Name
    """Referred to by arms."""
    source: Source | None = None
    """Read from a JSON Lines file of {"messages": […]} rows."""
    synthesize: SynthesizeChats | None = None
    """Written by an endpoint."""
    compose: ComposeChats | None = None
    """Written by the offline grammar."""
    replay: Replay | None = None
    """Answered by the base model."""
    decontaminate: Annotated[tuple[Name, ...], Field(max_length=32)] = ()
    """Evals whose items must not occur in the rows."""

    @model_validator(mode="after")
    def _one_origin(self) -> "Demonstration":
        exactly_one(self, "source", "synthesize", "compose", "replay")
        return self
