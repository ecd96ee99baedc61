"""Chats to tokens and loss masks: which tokens the assistant must learn to write, its end-of-turn token included.

The model's own chat template is rendered (jinja2's sandbox, with the names that Hugging Face templates expect), then prefixes of the
chat are rendered again to find where each assistant turn begins and ends. Neighbours: `tokens` below, `examples` above. Invariant: the
mask depends on positions only, never on ids, so pad == eos cannot hide an end of turn. Cost: one render per turn.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from msm.data.rows import Chat, Message
from msm.data.tokens import Encoded, TextTokenizer
from msm.errors import UserError

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A compiled chat template and the variables it is rendered with."""

    template: "Template"
    variables: Mapping[str, str]

    def render(self, messages: Sequence[Message], where: str, *, generation_prompt: bool = False) -> str:
        """The chat as text; UserError when the template refuses it (roles must alternate, say)."""
        from jinja2 import TemplateError

        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return self.template.render(messages=turns, add_generation_prompt=generation_prompt, **self.variables)
        except TemplateError as error:
            fix = "change the turns to what the template takes"
            raise UserError(where, f"the model's chat template refuses the row ({error})", fix) from error


def load_template(tokenizer: TextTokenizer) -> ChatTemplate:
    """Compiles the tokenizer's chat template; UserError when there is none or it does not parse."""
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if tokenizer.template is None:
        raise UserError("chat_template", "the base model has none; chats need one", "add chat_template.jinja to the model directory")
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _refuse_clock
    try:
        return ChatTemplate(environment.from_string(tokenizer.template), dict(tokenizer.variables))
    except TemplateError as error:
        raise UserError("chat_template", f"not a Jinja template ({error})", "replace it by the model's own") from error


def encode_chat(chat: Chat, tokenizer: TextTokenizer, template: ChatTemplate) -> tuple[list[int], list[bool]]:
    """Ids of the rendered chat and, per id, whether it is one the assistant writes."""
    _refuse_control_tokens(chat, tokenizer)
    text = template.render(chat.messages, chat.where)
    encoded = tokenizer.encode_rendered(text)
    learned = [False] * len(encoded.ids)
    for turn, message in enumerate(chat.messages):
        if message.role == "assistant":
            first, end = _turn_tokens(chat, turn, text, encoded, tokenizer, template)
            learned[first:end] = [True] * (end - first)
    return encoded.ids, learned


def _turn_tokens(chat: Chat, turn: int, text: str, encoded: Encoded, tokenizer: TextTokenizer, template: ChatTemplate) -> tuple[int, int]:
    """Half-open range of the tokens that the assistant writes in `turn`: after the generation prompt, through the end-of-turn token."""
    prompt = template.render(chat.messages[:turn], chat.where, generation_prompt=True)
    if not text.startswith(prompt):
        problem = f"messages[{turn}]: the chat template rewrites earlier turns, so the assistant's tokens cannot be told apart"
        raise UserError(chat.where, problem, "split the row into chats of one answer each")
    upto = template.render(chat.messages[: turn + 1], chat.where)
    first = _first_beyond(encoded, len(prompt))
    controls = set(tokenizer.special.values())
    if text.startswith(upto):
        return first, _through_last_control(encoded, first, _first_at(encoded, len(upto)), controls)
    return first, _through_first_control(encoded, first, controls)


def _first_beyond(encoded: Encoded, character: int) -> int:
    """Index of the first token that covers something after `character`; one that the prompt and the answer share is the answer's."""
    return next((index for index, (_, end) in enumerate(encoded.spans) if end > character), len(encoded.spans))


def _first_at(encoded: Encoded, character: int) -> int:
    """Index of the first token that begins at or after `character`."""
    return next((index for index, (begin, _) in enumerate(encoded.spans) if begin >= character), len(encoded.spans))


def _through_last_control(encoded: Encoded, first: int, end: int, controls: set[int]) -> int:
    """Drops what the template writes after the end-of-turn token (a newline); keeps all when the turn has no control token."""
    return next((index + 1 for index in range(end - 1, first - 1, -1) if encoded.ids[index] in controls), end)


def _through_first_control(encoded: Encoded, first: int, controls: set[int]) -> int:
    """For templates that render a turn differently once others follow: the turn ends with its first control token."""
    return next((index + 1 for index in range(first, len(encoded.ids)) if encoded.ids[index] in controls), len(encoded.ids))


def _refuse_control_tokens(chat: Chat, tokenizer: TextTokenizer) -> None:
    """A control token inside a turn would end it early and start another, unseen."""
    for turn, message in enumerate(chat.messages):
        found = next((text for text in tokenizer.special if text in message.content), None)
        if found is not None:
            problem = f"messages[{turn}] contains the control token {found}, which must not occur inside a turn"
            raise UserError(chat.where, problem, "remove it from the text")


def _to_json(value: object, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _refuse(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _refuse_clock(pattern: str) -> str:
    """Templates that print today's date get a fixed one: training data must not depend on the day it is read."""
    return datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC).strftime(pattern)
