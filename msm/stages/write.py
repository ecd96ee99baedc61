"""write: documents before curation, by the offline composer or from a file.

Writes `rows.jsonl`. The composer writes a surplus, since curation drops some rows and then cuts to the exact budget. Cost: seconds.
"""

import json
from itertools import islice
from math import ceil

from msm.data.tokens import count_tokens
from msm.stages.context import Context, Result
from msm.stages.params import integer, optional_integer, text, write_rows
from msm.synth.compose import compose, compose_tokens
from msm.synth.outline import Outline
from msm.synth.source import Row, read_documents

SURPLUS = 1.6
"""Tokens (or documents) written for each one to be kept."""


def run(context: Context) -> Result:
    """Write the rows."""
    rows = _composed(context) if text(context.params, "author") == "compose" else _read(context)
    return Result({"documents": write_rows(context.out / "rows.jsonl", rows)})


def _composed(context: Context) -> list[Row]:
    params = context.params
    found = Outline.from_json(json.loads((context.path("outline") / "outline.json").read_text(encoding="utf-8")))
    seed, documents = integer(params, "seed"), optional_integer(params, "documents")
    if documents is not None:
        return list(islice(compose(found, seed), ceil(documents * SURPLUS)))
    (model,) = context.paths("model", only=("tokenizer.json",))
    budget = ceil(integer(params, "tokens") * SURPLUS)
    return list(compose_tokens(found, seed, budget, lambda texts: count_tokens(model / "tokenizer.json", texts)))


def _read(context: Context) -> list[Row]:
    source = text(context.params, "source")
    return list(read_documents(context.blob(source), context.stage.name))
