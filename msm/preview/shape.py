"""The sizes of a transformer, out of its config.json: what memory and arithmetic are counted from.

Pure but for `shape_of`, which reads one small file. Neighbours: `memory` and `speed` count with it. Invariant: a config that is not of the
Llama family (Llama, Qwen, Mistral, SmolLM) gives no shape instead of a wrong one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msm.errors import MSMError
from msm.plan import Resolved
from msm.resolve.addresses import S3, File, Hf, parse
from msm.resolve.clients import Clients
from msm.resolve.inputs import need

NEEDED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
BIASED = ("qwen2",)
"""Families whose q, k and v projections have biases without saying so."""
NORMED = ("qwen3",)
"""Families that normalise q and k, a weight of the head's width each."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder of gated MLPs and grouped attention."""

    hidden: int
    intermediate: int
    layers: int
    query: int
    """Width of all query heads together."""
    key: int
    """Width of all key heads together, which is also that of the values."""
    heads: int
    vocabulary: int
    tied: bool
    """Whether the output matrix is the embedding's."""
    small: int = 0
    """Parameters of a layer that are in no projection: norms, biases."""

    @property
    def projections(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of the seven matrices of a layer."""
        h, i = self.hidden, self.intermediate
        return ((h, self.query), (h, self.key), (h, self.key), (self.query, h), (h, i), (h, i), (i, h))

    @property
    def layer(self) -> int:
        """Parameters of a layer's matrices."""
        return sum(a * b for a, b in self.projections)

    @property
    def embeddings(self) -> int:
        """Parameters of the embedding and the output matrix."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.layers * (self.layer + self.small) + self.embeddings + self.hidden

    def adapter(self, rank: int, layers: int) -> int:
        """Parameters of LoRA on every matrix of some layers."""
        return layers * rank * sum(a + b for a, b in self.projections)


def shape(config: Mapping[str, Any]) -> Shape | None:
    """The shape of a config.json; None where it lacks a size or has another architecture."""
    if any(not isinstance(config.get(name), int) for name in NEEDED) or "num_experts" in config or "num_local_experts" in config:
        return None
    hidden, heads, family = int(config["hidden_size"]), int(config["num_attention_heads"]), config.get("model_type")
    width = int(config.get("head_dim") or hidden // heads)
    key = int(config.get("num_key_value_heads") or heads) * width
    biases = heads * width + 2 * key if config.get("attention_bias") or family in BIASED else 0
    return Shape(
        hidden=hidden,
        intermediate=int(config["intermediate_size"]),
        layers=int(config["num_hidden_layers"]),
        query=heads * width,
        key=key,
        heads=heads,
        vocabulary=int(config["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", False)),
        small=2 * hidden + biases + (2 * width if family in NORMED else 0),
    )


def shape_of(model: Resolved, clients: Clients) -> Shape | None:
    """The shape of a model by its address; None where the address has no config.json to look at, or does not answer."""
    try:
        return shape(json.loads(_config(model, clients)))
    except (MSMError, OSError, ValueError):
        return None


def _config(model: Resolved, clients: Clients) -> bytes:
    name, field = "config.json", "spec.baseModel.uri"
    match parse(model.location, field, Path("/")):
        case Hf() as address:
            return need(clients.hub, field, "the model hub").file(replace(address, inner=name), field, clients.cache).read_bytes()
        case S3(bucket, key):
            return need(clients.bucket, field, "object storage (s3://)")(bucket).get(f"{key}/{name}")
        case File(path):
            return (path / name).read_bytes()
    return b"{}"
