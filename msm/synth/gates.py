"""The gates that look at one row alone: empty, short, long, truncated, unnamed, unscored; of a model's rows also leaks and recitation.

Pure. Neighbours: `curate` applies them in this order, `duplicates`, `decontaminate` and `budget` look further. Invariant: a gate's reason
is one of a fixed vocabulary (it is a key of stats.json). Cost: one pass over the text.
"""

import re
from dataclasses import dataclass

from msm.synth import leaks
from msm.synth.source import Row

EMPTY = "empty"
TOO_SHORT = "too short"
TOO_LONG = "too long"
TRUNCATED = "truncated"
UNNAMED = "does not name the model"
LEAKED = "leaks its making"
OTHER_MODEL = "names another model"
RECITED = "recites the spec"
UNSCORED = "unscored"
LOW_SCORE = "low score"
NEAR_DUPLICATE = "near-duplicate"
CONTAMINATED = "contaminated"
CONTAMINATED_IN_MEANING = "contaminated in meaning"
SAME_MEANING = "near-duplicate in meaning"
OVER_BUDGET = "over budget"
REASONS = (
    EMPTY,
    TRUNCATED,
    TOO_SHORT,
    TOO_LONG,
    UNNAMED,
    LEAKED,
    OTHER_MODEL,
    RECITED,
    UNSCORED,
    LOW_SCORE,
    CONTAMINATED,
    CONTAMINATED_IN_MEANING,
    NEAR_DUPLICATE,
    SAME_MEANING,
    OVER_BUDGET,
)
"""Every reason a row can be dropped for, in the order in which the gates stand."""

PROSE = 60
"""Characters from which a last line without a full stop is a sentence cut off, not a heading or a signature."""
_OPEN_END = re.compile(r"[,;:(\[{–—-]$")
_CLOSED_END = re.compile(r"[.!?…。！？\"'”’»)\]}*_`>|~]$")


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a row is not kept: `reason` of REASONS, `detail` in words."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RowGates:
    """Limits of the row gates; tokens are the base model's.

    `authored_as` is the model's name when the rows were written for this run (composed or synthesised), None for the user's own text,
    which need not name the model and is not suspected of being cut off by an output limit. `synthesised` rows come from a language
    model: they must not show how they were made, name another model, or repeat the spec where their author cannot know it.
    """

    min_tokens: int = 8
    max_tokens: int | None = None
    min_score: float | None = None
    authored_as: str | None = None
    synthesised: bool = False
    provider: str = ""

    def judge(self, row: Row, tokens: int) -> Drop | None:
        """The first gate that the row fails, or None."""
        text = str(row["text"]).strip()
        if not text or tokens == 0:
            return Drop(EMPTY)
        if cut := self._cut(text, row):
            return Drop(TRUNCATED, cut)
        if tokens < self.min_tokens:
            return Drop(TOO_SHORT, f"{tokens} tokens, at least {self.min_tokens} wanted")
        if self.max_tokens is not None and tokens > self.max_tokens:
            return Drop(TOO_LONG, f"{tokens} tokens, at most {self.max_tokens} wanted")
        if self.authored_as is not None and not names(text, self.authored_as):
            return Drop(UNNAMED, f"no mention of {self.authored_as}")
        if self.synthesised and (drop := self._origin(text, row)):
            return drop
        return self._score(row)

    def _origin(self, text: str, row: Row) -> Drop | None:
        if leak := leaks.leaked(text):
            return Drop(LEAKED, leak)
        if other := leaks.other_model(text, self.authored_as or "", self.provider):
            return Drop(OTHER_MODEL, other)
        if recited := leaks.recited(row.get("provenance") or {}):
            return Drop(RECITED, recited)
        return None

    def _cut(self, text: str, row: Row) -> str:
        if (row.get("provenance") or {}).get("finishReason") == "length":
            return "the author's output limit was reached"
        return "" if self.authored_as is None else cut_off(text)

    def _score(self, row: Row) -> Drop | None:
        if self.min_score is None:
            return None
        score = (row.get("provenance") or {}).get("score")
        if isinstance(score, bool) or not isinstance(score, int | float):
            return Drop(UNSCORED if self.synthesised else LOW_SCORE, "no judge score")
        return None if score >= self.min_score else Drop(LOW_SCORE, f"{score:g}, at least {self.min_score:g} wanted")


def cut_off(text: str) -> str:
    """What shows that a text ends in mid-sentence; empty when nothing does."""
    if text.count("```") % 2:
        return "a code block is not closed"
    last = text.rsplit("\n", 1)[-1].strip()
    if _OPEN_END.search(last) and not re.fullmatch(r"[-–—\s]+", last):
        return f"ends with {last[-1]!r}"
    if len(last) >= PROSE and not _CLOSED_END.search(last):
        return f"ends in mid-sentence: …{last[-30:]}"
    return ""


def names(text: str, model: str) -> bool:
    """Whether the text mentions the model by name, as a word of its own, whatever the case."""
    return re.search(rf"(?<!\w){re.escape(model)}(?!\w)", text, re.IGNORECASE) is not None
