"""Chat completions as bytes: the request that is sent, the reply that is read.

Pure. Neighbours: `client` carries both. Invariant: the body of a request is a function of what is asked, system turn first, then prefix and
prompt in one user turn, so that equal beginnings are equal bytes; a reply is read only if it is whole. Servers differ: unknown fields are
ignored, known variants (text in parts, reasoning in either field or in the text, other words for the same end) are read alike.
"""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from msm.llm.ask import Finish, Request, Sampling, Usage
from msm.llm.failures import Setback
from msm.llm.reasoning import split_reasoning
from msm.llm.shape import Schema, as_response_format

Conversation = tuple[tuple[str, str], ...]
"""(role, text) of each turn."""

_ENDS: dict[str, Finish] = dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence"), "stop")
_ENDS |= dict.fromkeys(("length", "max_tokens", "model_length"), "length")
_DECLINED = ("content_filter", "safety", "recitation", "refusal")


@dataclass(frozen=True, slots=True)
class Reply:
    """One completion: text without reasoning; `declined` says why the model or a filter gave none; `usage` None when nobody counted."""

    text: str
    reasoning: str
    finish: Finish
    usage: Usage | None
    declined: str = ""


def opening(request: Request, addition: str = "") -> Conversation:
    """The turns of a question; `addition` goes to the very end."""
    user = ("user", request.prefix + request.prompt + addition)
    return (("system", request.system), user) if request.system else (user,)


def encode(model: str, turns: Conversation, sampling: Sampling, limit_name: str, schema: Schema | None) -> bytes:
    """The body; `limit_name` is the server's word for the limit of tokens."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": role, "content": text} for role, text in turns]}
    body[limit_name] = sampling.max_tokens
    if sampling.temperature is not None:
        body["temperature"] = sampling.temperature
    if sampling.top_p is not None:
        body["top_p"] = sampling.top_p
    if schema is not None:
        body["response_format"] = as_response_format(schema)
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Part(_Wire):
    text: str = ""


class _Message(_Wire):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(_Wire):
    message: _Message
    finish_reason: str | None = None


class _Details(_Wire):
    cached_tokens: int | None = None


class _Usage(_Wire):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _Details | None = None


class _Completion(_Wire):
    choices: list[_Choice]
    usage: _Usage | None = None


def decode(body: bytes) -> Reply:
    """The first choice.

    Raises:
        Setback: not a whole completion, or one that another try may improve on (nothing said, stopped by the server).
    """
    try:
        completion = _Completion.model_validate_json(body)
    except ValidationError:
        raise Setback("garbage", f"200 with a body that is no chat completion: {_excerpt(body)}", may_be_billed=True) from None
    if not completion.choices:
        raise Setback("empty", "200 without choices", may_be_billed=True)
    return _reply(completion.choices[0], completion.usage)


def _reply(choice: _Choice, usage: _Usage | None) -> Reply:
    said, why = choice.message, (choice.finish_reason or "").lower()
    if said.refusal or why in _DECLINED:
        return Reply("", "", "stop", _counted(usage), declined=f"declined: {said.refusal or why}"[:300])
    if why not in _ENDS:
        raise Setback("empty", f'200 that ended with finish_reason "{why[:40]}"', may_be_billed=True)
    text, inline = split_reasoning(_plain(said.content))
    if not text.strip() and _ENDS[why] == "stop":
        raise Setback("empty", "200 without any text", may_be_billed=True)
    given = (said.reasoning_content or said.reasoning or "").strip()
    return Reply(text, "\n".join(part for part in (given, inline) if part), _ENDS[why], _counted(usage))


def _plain(content: str | list[_Part] | None) -> str:
    return "".join(part.text for part in content) if isinstance(content, list) else content or ""


def _counted(usage: _Usage | None) -> Usage | None:
    if usage is None:
        return None
    details = usage.prompt_tokens_details
    return Usage(usage.prompt_tokens, usage.completion_tokens, (details.cached_tokens if details else None) or 0)


def _excerpt(body: bytes) -> str:
    return " ".join(body[:120].decode("utf-8", "replace").split())
