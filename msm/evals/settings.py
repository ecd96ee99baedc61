"""What an evaluation is told: which models, how many items, how precise.

Neighbours: the evaluate stage fills these in, `preference` obeys. Invariant: `rowTokens`, `batch` and `threads` are resources and change
no result beyond rounding; everything else may.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from msm.evals.health import PROMPTS


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Where a model's weights lie: a PEFT adapter on the base, a full model, or (neither) the base itself."""

    adapter: Path | None = None
    full: Path | None = None

    def __post_init__(self) -> None:
        if self.adapter is not None and self.full is not None:
            raise ValueError("a model is an adapter or full, not both")


class PreferenceSettings(BaseModel):
    """Settings of the preference suite; keys are camelCase in files, unknown ones are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True)

    limit: Annotated[int, Field(ge=1)] | None = None
    """Items to score, in balance over value, set and domain; absent is all."""
    generate: Annotated[int, Field(ge=0)] | None = None
    """Of those, items that are also answered greedily, chosen alike; absent is all."""
    max_new_tokens: Annotated[int, Field(ge=1, le=256)] = 12
    """Longest greedy answer."""
    health_prompts: tuple[str, ...] = PROMPTS
    """Everyday questions of the chat-format check; empty skips it."""
    health_tokens: Annotated[int, Field(ge=1, le=1024)] = 48
    """Longest answer to an everyday question."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic; bfloat16 is autocast from float32 weights."""
    row_tokens: Annotated[int, Field(ge=16)] = 256
    """Tokens the model sees at once while scoring (a resource)."""
    batch: Annotated[int, Field(ge=1)] = 32
    """Answers written at once (a resource)."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads; absent leaves torch's choice (a resource)."""
