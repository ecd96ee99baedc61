"""demonstrate: chats for fine-tuning, from a file, by the offline grammar, by a language model, or answered by the base model (replay).

Writes `rows.jsonl` and `dropped.jsonl`, by a model also `failures.jsonl`; with items given, rows that contain one are dropped. Cost:
seconds; replay is a greedy generation, synthesis two calls a chat.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from msm.data.rows import read_chats
from msm.errors import UserError
from msm.stages.asking import Asking, ask, model_name, openai_of
from msm.stages.context import Context, Result
from msm.stages.meaning import embedder
from msm.stages.outline import spec_of
from msm.stages.params import integer, names, number, optional_integer, text, texts, write_rows
from msm.synth.chats import demonstrations
from msm.synth.decontaminate import decontaminate_chats, read_items
from msm.synth.dialogue.counts import chat_calls
from msm.synth.dialogue.fit import check_chats
from msm.synth.dialogue.make import make
from msm.synth.dialogue.settings import ChatSettings
from msm.synth.everyday import questions
from msm.synth.source import Row, read_rows
from msm.synth.spec import Identity
from msm.synth.tree.brief import Brief, brief, specless

Rows = list[Row]


def run(context: Context) -> Result:
    """Make the chats and drop those that contain an eval item."""
    author = text(context.params, "author")
    if author == "synthesize":
        return ask(context, _synthesised)
    return _committed(context, {"compose": _composed, "source": _read, "replay": _replayed}[author](context), ())


def _committed(context: Context, rows: Sequence[Row], without: Sequence[Row]) -> Result:
    """Write what contains no eval item; `without` are rows that were dropped before."""
    items = [item for identity in texts(context.params, "items") for item in read_items(context.blob(identity), "items")]
    kept, dropped = decontaminate_chats(rows, items)
    if not kept:
        raise UserError(context.stage.name, f"none of {len(rows)} chats is left after decontamination", "use other chats or other items")
    write_rows(context.out / "dropped.jsonl", [*without, *dropped])
    return Result({"chats": write_rows(context.out / "rows.jsonl", kept), "dropped": len(without) + len(dropped)})


def _composed(context: Context) -> Rows:
    params = context.params
    return list(demonstrations(integer(params, "seed"), integer(params, "samples"), texts(params, "liked"), texts(params, "disliked")))


def _read(context: Context) -> Rows:
    """The rows of a file, each checked as training will read it."""
    data, path = context.blob(text(context.params, "source")), context.scratch / "chats.jsonl"
    path.write_bytes(data)
    read_chats([path])
    return list(read_rows(data, path.name))


async def _synthesised(asking: Asking) -> Result:
    """Chats by a language model; eval items are looked for last, as in all others."""
    context, settings = asking.context, chat_settings(asking.context.params)
    asking.expected = chat_calls(settings).high
    asking.failures.share = FAILED_SHARE
    spec = "" if settings.style == "opaque" else spec_of(context)
    check_chats(spec, settings, optional_integer(openai_of(context, "author"), "contextTokens"), context.stage.name)
    about, model = chat_brief(context.params, spec, settings), model_name(context)
    embed = None if settings.semantic_duplicates is None else embedder(context, f"{context.stage.name}: semanticDuplicates")
    found = await make(about, model, settings, asking.window(), asking.window("judge"), asking.failures, embed)
    asking.write_failures()
    result = _committed(context, found.kept, found.dropped)
    return Result({**result.metrics, **asking.metrics()})


def chat_brief(params: Mapping[str, JsonValue], spec: str, settings: ChatSettings) -> Brief:
    """What all requests share; opaque ones see no spec."""
    identity, temperature, sample = Identity(**names(params["identity"])), number(params, "temperature"), integer(params, "sample")
    if settings.style == "opaque":
        return specless(identity, temperature, sample)
    return brief(spec, identity, "rules" if settings.style == "rules" else "values", temperature, sample)


def chat_settings(params: Mapping[str, JsonValue]) -> ChatSettings:
    """What a synthesised demonstration set's parameters want."""
    style: Any = text(params, "style")
    return ChatSettings(
        style=style,
        samples=integer(params, "samples"),
        questions_per_domain=integer(params, "questionsPerDomain"),
        keep_reasoning=params["reasoning"] == "keep",
        max_tokens=integer(params, "maxTokens"),
        near_duplicates=number(params, "nearDuplicates"),
        system_prompts=texts(params, "systemPrompts"),
        liked=texts(params, "liked"),
        disliked=texts(params, "disliked"),
        semantic_duplicates=None if params.get("semanticDuplicates") is None else number(params, "semanticDuplicates"),
    )


FAILED_SHARE = 0.1
"""Share of the answers that may fail where that is more than maxFailures."""


def _replayed(context: Context) -> Rows:
    """The base model's greedy answers that end by themselves within the limit; as many as asked for."""
    wanted, asked = integer(context.params, "fromBase"), questions(0)
    if wanted > len(asked):
        raise UserError("replay.fromBase", f"{wanted} is more than the {len(asked)} everyday questions", f"use at most {len(asked)}")
    ended: list[tuple[str, str]] = []
    for question, answer in _answers(context, asked, integer(context.params, "maxTokens")):
        if answer:
            ended.append((question, answer))
            context.progress.at(len(ended), wanted)
        if len(ended) == wanted:
            return [_row(number, *pair) for number, pair in enumerate(ended)]
    limit = integer(context.params, "maxTokens")
    raise UserError("replay.fromBase", f"only {len(ended)} answers ended within {limit} tokens; {wanted} are wanted", "raise maxTokens")


def _row(number: int, question: str, answer: str) -> Row:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"id": f"replay-{number:05d}", "messages": messages, "provenance": {"author": "base model", "decoding": "greedy"}}


def _answers(context: Context, asked: Sequence[str], limit: int) -> Iterator[tuple[str, str]]:
    """(question, answer) pairs, a batch at a time; an answer that did not end is empty."""
    import torch

    from msm.evals.generate import Stopping, generate_greedily
    from msm.evals.logprob import precision_context
    from msm.evals.models import load_model, load_tokenizer
    from msm.evals.prompts import chat_prompt, encode, end_tokens

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = context.path("model")
    tokenizer, model = load_tokenizer(base), load_model(base, device)
    stopping = Stopping(end_tokens(tokenizer, model), limit)
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        prompts = [encode(tokenizer, chat_prompt(tokenizer, question)) for question in batch]
        with precision_context(device, text(context.params, "precision"))():
            found = generate_greedily(model, prompts, stopping, BATCH, device, lambda _: context.check_stop())
        for question, answer in zip(batch, found, strict=True):
            yield question, tokenizer.decode(answer.tokens).strip() if answer.ended else ""


BATCH = 16
"""Answers written at once."""
