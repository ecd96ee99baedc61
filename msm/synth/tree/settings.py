"""What is wanted of a tree and of its documents: counts, output limits, options.

Pure. Neighbours: stages build these from their parameters, `grow`, `write` and `counting` read them. Defaults are those of the API.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

Tone = Literal["neutral", "warm", "critical", "curious", "dry"]
Genre = Literal["fiction", "advice"]
TONES: Final[tuple[Tone, ...]] = ("neutral", "neutral", "warm", "critical", "curious", "dry")
"""Tones in turns: a third neutral, a sixth each of the others."""
BATCH: Final = 100
"""Types or ideas that are asked for in one call; the reference's 20 and 25 are one call each."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Output limits of the steps, in tokens; a plan or a critique has its own, and never takes from the document's."""

    domains: int = 4096
    subdomains: int = 16384
    assertions: int = 8192
    doc_types: int = 8192
    ideas: int = 8192
    document: int = 8192
    plan: int = 1024
    critique: int = 1024
    scores: int = 2048


@dataclass(frozen=True, slots=True)
class TreeSettings:
    """What `grow` is asked for; `domains` given skip the first step."""

    doc_types: int = 20
    ideas_per_type: int = 25
    domains: tuple[str, ...] = ()
    genres: tuple[Genre, ...] = ()
    temperature: float | None = 1.0
    limits: Limits = field(default_factory=Limits)
    max_failures: int = 10
    sample: int = 0


@dataclass(frozen=True, slots=True)
class WriteSettings:
    """What `write` is asked for: tokens or documents to be kept, and how much more is written than that."""

    tokens: int | None = None
    documents: int | None = None
    surplus: float = 1.25
    critique: bool = True
    scored: bool = False
    tones: tuple[Tone, ...] = TONES
    seed: int = 0
    temperature: float | None = 1.0
    limits: Limits = field(default_factory=Limits)
    max_failures: int = 10
    sample: int = 0
