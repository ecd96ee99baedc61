"""write: documents before curation, by a language model, by the offline composer, or from a file.

Writes `rows.jsonl`; by a model also `failures.jsonl`. A surplus is written, since curation drops some rows and then cuts to the exact
budget. Cost: seconds; by a model one to three calls a document, answered ones kept in the store as they arrive.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from math import ceil
from typing import Any

from pydantic import JsonValue

from msm.data.tokens import count_tokens, load_tokenizer
from msm.stages.asking import Asking, ask, model_name, openai_of
from msm.stages.context import Context, Result
from msm.stages.outline import limits_of, spec_of
from msm.stages.params import integer, number, optional_integer, text, texts, write_rows
from msm.synth.compose import compose, compose_tokens
from msm.synth.outline import Outline
from msm.synth.source import Row, read_documents
from msm.synth.tree.counting import write_calls
from msm.synth.tree.fit import check_write
from msm.synth.tree.nodes import Tree
from msm.synth.tree.settings import WriteSettings
from msm.synth.tree.write import write

SURPLUS = 1.6
"""Tokens (or documents) composed for each one to be kept; a synthesis states its own."""


def run(context: Context) -> Result:
    """Write the rows."""
    author = text(context.params, "author")
    if author == "synthesize":
        return ask(context, _synthesised)
    rows = _composed(context) if author == "compose" else _read(context)
    return Result({"documents": write_rows(context.out / "rows.jsonl", rows)})


def _outline(context: Context) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((context.path("outline") / "outline.json").read_text(encoding="utf-8"))
    return found


def _composed(context: Context) -> list[Row]:
    params = context.params
    found = Outline.from_json(_outline(context))
    seed, documents = integer(params, "seed"), optional_integer(params, "documents")
    if documents is not None:
        return list(islice(compose(found, seed), ceil(documents * SURPLUS)))
    (model,) = context.paths("model", only=("tokenizer.json",))
    budget = ceil(integer(params, "tokens") * SURPLUS)
    return list(compose_tokens(found, seed, budget, lambda texts: count_tokens(model / "tokenizer.json", texts)))


def _read(context: Context) -> list[Row]:
    source = text(context.params, "source")
    return list(read_documents(context.blob(source), context.stage.name))


async def _synthesised(asking: Asking) -> Result:
    context = asking.context
    tree, spec, settings = Tree.from_json(_outline(context)), spec_of(context), write_settings(context.params)
    check_write(spec, tree, settings, optional_integer(openai_of(context, "author"), "contextTokens"), context.stage.name)
    asking.expected = write_calls(settings, tree.ideas).high
    asking.failures.share = FAILED_SHARE
    writer, judge = asking.window(), asking.window("judge")
    found = await write(tree, spec, model_name(context), settings, writer, judge, asking.failures, _counter(context))
    asking.write_failures()
    documents = write_rows(context.out / "rows.jsonl", found.rows)
    return Result({"documents": documents, "ideas": found.ideas} | asking.metrics())


FAILED_SHARE = 0.1
"""Share of the documents that may fail where that is more than maxFailures."""


def _counter(context: Context) -> Callable[[Sequence[str]], Sequence[int]]:
    """Counts tokens as curation will, with a tokenizer that is read once."""
    (model,) = context.paths("model", only=("tokenizer.json", "tokenizer_config.json"))
    tokenizer = load_tokenizer(model)
    return lambda documents: [len(ids) for ids in tokenizer.encode_documents(documents)]


def write_settings(params: Mapping[str, JsonValue]) -> WriteSettings:
    """What a synthesised corpus' parameters want."""
    tones: Any = texts(params, "tones")
    return WriteSettings(
        tokens=optional_integer(params, "tokens"),
        documents=optional_integer(params, "documents"),
        surplus=number(params, "surplus"),
        critique=params["critique"] is True,
        scored=params.get("judge") is not None,
        tones=tones,
        seed=integer(params, "seed"),
        temperature=number(params, "temperature"),
        limits=limits_of(params),
        sample=integer(params, "sample"),
    )
