"""What an HTTP status and its text mean: whose move it is, and whether another try may help.

Pure. Neighbours: `client` raises what `judge_status` returns. Invariant: an answer of the server is never quoted where it may hold the key;
what is quoted is one line of at most 300 characters. Cost: none.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from msm.errors import MSMError, UserError
from msm.llm.ask import AskFailed, Refused, TooLong

Kind = Literal["busy", "slow", "away", "broken", "cut", "garbage", "empty"]
"""busy: refused for load; slow: no answer in time; away: nobody there; broken: the server failed; cut: the answer stopped half-way;
garbage: no completion; empty: nothing said.
"""
OVERLOAD: frozenset[Kind] = frozenset({"busy", "slow"})
"""These cut the window."""
BLAMELESS: frozenset[Kind] = frozenset({"busy", "away"})
"""These do not count against the question."""


class Setback(Exception):
    """One try failed and another may not. `wait`: seconds the server asks for. `may_be_billed`: tokens may have been made for it."""

    def __init__(self, kind: Kind, said: str, wait: float | None = None, may_be_billed: bool = False) -> None:
        super().__init__(said)
        self.kind, self.said, self.wait, self.may_be_billed = kind, said, wait, may_be_billed


class NotTaken(Exception):
    """The server does not take a field of the request; `field` is `response_format` or `max_tokens`."""

    def __init__(self, field: str, said: str) -> None:
        super().__init__(said)
        self.field, self.said = field, said


class UnknownModel(Exception):
    """404: the server has no such model, or the address is wrong; the client finds out which."""


class NoAnswer(AskFailed):
    """The endpoint failed on this question again and again while it answered others."""

    reason = "NoAnswer"


@dataclass(frozen=True, slots=True)
class Place:
    """What error messages name: the endpoint's field in the run, its address, where its key comes from."""

    field: str
    base_url: str
    model: str
    key_source: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What was asked and what is known: the fields sent, whether this endpoint ever answered this process, and the wait it asks for."""

    sent_schema: bool
    ever_answered: bool
    wait: float | None


def judge_status(status: int, body: str, place: Place, seen: Circumstances) -> Exception:
    """The exception for an answer that is not 200."""
    said, code = _error_of(body)
    text = f"{status} {said}".strip()
    match status:
        case 401:
            return _wrong_key(place, status)
        case 402:
            return _out_of_credit(place, text)
        case 403:
            return Refused(text) if seen.ever_answered else _wrong_key(place, status)
        case 404:
            return Setback("away", text) if seen.ever_answered else UnknownModel(text)
        case 413:
            return TooLong(text)
        case 429 if code in ("insufficient_quota", "billing_hard_limit_reached"):
            return _out_of_credit(place, text)
        case 429 | 503 | 529:
            return Setback("busy", text, wait=seen.wait)
        case 400 | 422:
            return _judge_rejection(text, code, place, seen)
        case 408 | 504:
            return Setback("slow", text, may_be_billed=True)
        case 409 | 425:
            return Setback("broken", text)
    if status >= 500:
        return Setback("broken", text, wait=seen.wait)
    return UserError(f"{place.field}.baseURL", f"{place.base_url} answered {text}", "give the address up to and including /v1")


_TOO_LONG = (
    "context length",
    "context_length",
    "maximum context",
    "too many tokens",
    "prompt is too long",
    "max_model_len",
    "context window",
    "context size",
)
_FILTERED = ("content_filter", "content_policy", "content management policy", "safety_violation")


def _judge_rejection(text: str, code: str, place: Place, seen: Circumstances) -> Exception:
    lower = f"{text} {code}".lower()
    if any(sign in lower for sign in _TOO_LONG):
        return TooLong(text)
    if any(sign in lower for sign in _FILTERED):
        return Refused(text)
    if "max_completion_tokens" in lower:
        return NotTaken("max_tokens", text)
    if seen.sent_schema:
        return NotTaken("response_format", text)
    if seen.ever_answered:
        return NoAnswer(f"{place.base_url} does not take this question: {text}")
    return UserError(
        place.field, f"{place.base_url} does not take our questions: {text}", "see what it says, then mend the endpoint or its options"
    )


def _wrong_key(place: Place, status: int) -> MSMError:
    return UserError(
        f"{place.field}.apiKey",
        f"{place.base_url} answered {status}: it does not accept the key",
        f"put the right key into {place.key_source}",
    )


def _out_of_credit(place: Place, text: str) -> MSMError:
    return UserError(
        place.field, f"{place.base_url} wants to be paid first: {text}", "raise the account's limit, then run again; answers are kept"
    )


def _error_of(body: str) -> tuple[str, str]:
    """(one line, code) of an error body: OpenAI's {"error": {…}}, vLLM's older {"message": …}, FastAPI's {"detail": …}, or any text."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return _line(body), ""
    error = parsed.get("error", parsed) if isinstance(parsed, Mapping) else parsed
    if not isinstance(error, Mapping):
        return _line(str(error)), ""
    return _line(str(error.get("message") or error.get("detail") or error)), str(error.get("code") or "")


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
