"""A served model on the wire of vLLM's OpenAI server: log-probabilities of given tokens, greedy continuations, chat answers.

Blocking HTTP by the standard library, injected as `Post`. Neighbour: `endpoint` asks. Invariant: token ids are sent, not text, so what is
scored is exactly what a scorer in the process would score; an answer without what was asked for is an error, never a zero. Source of the
fields: `prompt_logprobs` is vLLM's extension of the completions API (0: the given tokens alone), keyed by token id. Cost: one request for
each batch; the server computes each sequence whole, it keeps no prefix for prompt log-probabilities.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msm.errors import TryAgain, UserError

Tokens = tuple[int, ...]
Post = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Posts a body to a path below the base URL; the decoded answer. Raises TryAgain or UserError."""
TIMEOUT_SECONDS = 600.0
"""For one batch; a first request may compile."""
PAUSES = (1.0, 5.0, 15.0)
"""Between tries at a server that does not answer; then the stage is tried again as a whole."""
BUSY = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class TokenScore:
    """The log-probability (natural log) of a given token after those before it, and whether it was the likeliest."""

    logprob: float
    is_first: bool


@dataclass(frozen=True, slots=True)
class Continuation:
    """A greedy continuation; `ended`: by the model itself, within the limit."""

    text: str
    ended: bool


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model of a server, by the name that the server knows it by."""

    post: Post
    model: str
    batch: int = 16

    def score(self, sequences: Sequence[tuple[Tokens, Tokens]]) -> Iterator[list[TokenScore]]:
        """For each (prompt, answer): a score for each token of the answer.

        Raises:
            UserError: the server gives no log-probabilities of prompts; TryAgain: it does not answer.
        """
        for start in range(0, len(sequences), self.batch):
            some = sequences[start : start + self.batch]
            body = {"prompt": [[*prompt, *answer] for prompt, answer in some], "max_tokens": 1, "prompt_logprobs": 0}
            for choice, (prompt, answer) in zip(self._choices(body, len(some)), some, strict=True):
                yield _scores(choice, prompt, answer)

    def complete(self, prompts: Sequence[Tokens], limit: int) -> Iterator[Continuation]:
        """Greedy continuations of at most `limit` tokens, without special tokens."""
        for start in range(0, len(prompts), self.batch):
            some = [list(prompt) for prompt in prompts[start : start + self.batch]]
            for choice in self._choices({"prompt": some, "max_tokens": limit}, len(some)):
                yield Continuation(str(choice.get("text", "")), choice.get("finish_reason") == "stop")

    def chat(self, question: str, limit: int) -> Continuation:
        """What a client gets who asks one question through the server's own chat template."""
        messages = [{"role": "user", "content": question}]
        body = {"model": self.model, "messages": messages, "max_tokens": limit, "temperature": 0}
        (choice,) = _choices_of(self.post("chat/completions", body), 1)
        message = choice.get("message")
        text = message.get("content") if isinstance(message, Mapping) else None
        return Continuation(str(text or ""), choice.get("finish_reason") == "stop")

    def _choices(self, body: Mapping[str, Any], count: int) -> list[Mapping[str, Any]]:
        return _choices_of(self.post("completions", {"model": self.model, "temperature": 0, **body}), count)


def _choices_of(answer: Mapping[str, Any], count: int) -> list[Mapping[str, Any]]:
    """The answer's choices, in the order of the prompts."""
    found = answer.get("choices")
    if not isinstance(found, list) or len(found) != count:
        raise TryAgain(f"the server answered {len(found) if isinstance(found, list) else 'no'} choices to {count} prompts")
    return sorted(found, key=lambda choice: int(choice.get("index", 0)))


def _scores(choice: Mapping[str, Any], prompt: Tokens, answer: Tokens) -> list[TokenScore]:
    places = choice.get("prompt_logprobs")
    if not isinstance(places, list) or len(places) != len(prompt) + len(answer):
        raise UserError(
            "endpoint",
            "the server gives no log-probability for each token of a prompt",
            "serve the model with vLLM, whose completions take prompt_logprobs",
        )
    return [_score(place, token) for place, token in zip(places[len(prompt) :], answer, strict=True)]


def _score(place: Any, token: int) -> TokenScore:
    entry = place.get(str(token)) if isinstance(place, Mapping) else None
    if not isinstance(entry, Mapping) or not isinstance(entry.get("logprob"), int | float):
        raise UserError("endpoint", f"the server scored other tokens than {token}", "serve the base model that the version was made from")
    return TokenScore(float(entry["logprob"]), entry.get("rank") == 1)


def http_post(base_url: str, key: str = "", pause: Callable[[float], None] = time.sleep) -> Post:
    """Post to a server; a silent or busy one is tried a few times. `key` goes into the Authorization header."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}

    def post(path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        request = urllib.request.Request(f"{base_url.rstrip('/')}/{path}", json.dumps(body).encode(), headers)
        for wait in PAUSES:
            try:
                return _exchange(request, base_url)
            except TryAgain:
                pause(wait)
        return _exchange(request, base_url)

    return post


def _exchange(request: urllib.request.Request, base_url: str) -> Mapping[str, Any]:
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            found = json.load(response)
    except urllib.error.HTTPError as error:
        said = " ".join(error.read(2000).decode("utf-8", "replace").split())[:300]
        if error.code in BUSY:
            raise TryAgain(f"{base_url} answered {error.code}: {said}") from error
        raise UserError("endpoint", f"{base_url} answered {error.code}: {said}", "see the server's log") from error
    except (OSError, ValueError) as error:
        raise TryAgain(f"{base_url}: {error}") from error
    if not isinstance(found, dict):
        raise TryAgain(f"{base_url} answered something that is no JSON object")
    return found
