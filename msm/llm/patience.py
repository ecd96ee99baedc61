"""How long to wait before another try, and when to stop trying.

Pure. Neighbours: `client` keeps one `Trouble` for each question that failed at least once. Invariant: a question is given up only for what
the endpoint does to it while it answers others; an endpoint that answers nobody is given up after `seconds` without one answer. Cost: none.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Literal

Verdict = Literal["again", "question", "endpoint"]
"""Try again; give this question up; give the endpoint up."""


@dataclass(frozen=True, slots=True)
class Patience:
    """`seconds` without any answer until the endpoint counts as away; `tries` of one question that fail while others are answered;
    waits between tries start at about `first` seconds, double, and stay under `longest`.
    """

    seconds: float = 900.0
    tries: int = 8
    first: float = 0.5
    longest: float = 30.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """What one question went through: first and last failure (monotonic seconds), how many, and how many of them count against it."""

    began: float = 0.0
    last: float = 0.0
    failures: int = 0
    counted: int = 0


def after_failure(trouble: Trouble, now: float, counts: bool, last_answer: float) -> Trouble:
    """One more failure. It counts against the question when the endpoint answered somebody since the failure before it."""
    if trouble.failures == 0:
        return Trouble(began=now, last=now, failures=1, counted=int(counts))
    counted = trouble.counted + int(counts and last_answer > trouble.last)
    return replace(trouble, last=now, failures=trouble.failures + 1, counted=counted)


def judge(trouble: Trouble, patience: Patience, last_answer: float) -> Verdict:
    """Whether to try again. A question that failed three times over more than the patience is given up before its tries are used up."""
    if trouble.counted >= patience.tries:
        return "question"
    if trouble.counted >= 3 and trouble.last - trouble.began > patience.seconds:
        return "question"
    if trouble.last - max(trouble.began, last_answer) > patience.seconds:
        return "endpoint"
    return "again"


def backoff(failures: int, patience: Patience, rng: random.Random) -> float:
    """Seconds before try `failures` + 1: half of an exponential wait for certain, the other half at random, so that callers spread."""
    full = min(patience.longest, patience.first * 2.0 ** min(failures - 1, 32))
    return full / 2 + rng.uniform(0, full / 2)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that the server asks to wait (Retry-After as seconds or HTTP date, RFC 9110 section 10.2.3; retry-after-ms), None when it
    says nothing
    that can be read. `headers` by small letters.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    said = headers.get("retry-after")
    seconds = _number(said)
    return _until(said, now) if seconds is None and said else seconds


def _number(said: str | None) -> float | None:
    try:
        value = float(said) if said else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < 1e9 else None


def _until(said: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return None
    return max(0.0, (moment - now).total_seconds()) if moment.tzinfo is not None else None
