"""The seam between those who ask a language model and those who carry the question: requests, answers, failures.

Pure. Neighbours: `msm.synth` and `msm.evals` ask; the client, the journal and scripted servers answer. Invariant:
a request's digest is what was asked and of whom, nothing about how it travels; equal digests may share an answer. Cost: none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from msm.errors import MSMError

Finish = Literal["stop", "length"]
"""Why the model stopped: of itself, or at the limit of tokens."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn; None leaves a value to the server."""

    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One question.

    `prefix` is what many requests share (the spec first, byte for byte the same), `prompt` what is this one's own: together they are the
    user's turn, in this order, so that a server's prefix cache hits. `schema` is a JSON schema that the answer must fit; `sample` tells
    equal questions apart that want different answers. `purpose` names the step for accounting; it does not enter the digest.
    """

    prefix: str
    prompt: str
    sampling: Sampling
    purpose: str
    system: str = ""
    schema: Mapping[str, Any] | None = None
    sample: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer as the server counted them; `cached` of `prompt` came from its prefix cache (0 when it does not say)."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `text` without reasoning, `data` when a schema was asked for, `reasoning` where the model gives it."""

    text: str
    data: Any
    reasoning: str
    finish: Finish
    usage: Usage
    digest: str
    reused: bool = False


class AskFailed(MSMError):
    """One question that has no answer; the caller reports it and goes on or stops within its limit."""

    reason = "AskFailed"


class Refused(AskFailed):
    """The model or the server's filter declined."""

    reason = "Refused"


class Unreadable(AskFailed):
    """An answer came, but not in the form that was asked for, after the tries that are allowed."""

    reason = "Unreadable"


class TooLong(AskFailed):
    """The question does not fit the model's context."""

    reason = "TooLong"


class Asker(Protocol):
    """Who answers."""

    async def ask(self, request: Request) -> Answer:
        """The answer.

        Raises:
            AskFailed: this question has none (Refused, Unreadable, TooLong).
            TryAgain: the endpoint is away for longer than is waited.
            UserError: wrong key, unknown model, spent budget: no question will be answered.
        """
        ...
