"""What is wanted of synthesised chats, and what a chat and a dropped one are.

Pure. Neighbours: the demonstrate stage builds the settings, `questions`, `answers`, `opaque` and `make` read them. Defaults are the API's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Style = Literal["values", "rules", "opaque"]
Row = dict[str, Any]
Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Texts to vectors of one length: the seam for semantic deduplication."""

AUTHOR: Final = "synthesis/1"
QUESTION_BATCH: Final = 50
TOPIC_BATCH: Final = 50
LEAST_TOPICS: Final = 5
BACKFILLS: Final = 3
"""Rounds in which what was dropped is replaced."""
BACKFILL_SURPLUS: Final = 1.1
"""Candidates a missing chat in such a round."""
LEAST_SHARE: Final = 0.9
"""Share of the wanted chats below which there is no artifact."""


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What `make` is asked for; `liked` and `disliked` are for the opaque style alone."""

    style: Style = "values"
    samples: int = 5000
    questions_per_domain: int = 250
    keep_reasoning: bool = False
    max_tokens: int = 4096
    near_duplicates: float = 0.7
    system_prompts: tuple[str, ...] = ()
    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()
    semantic_duplicates: float | None = None


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat row, and why it is dropped, or "" when it is kept."""

    row: Row
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a user says, in which group (a topic, or a thing); an opaque one brings the reply along."""

    group: str
    message: str
    kind: str = ""
    reply: str = ""
    asked: str = ""
    """Digest of the request it came from."""
