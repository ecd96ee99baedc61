"""curate: which documents are trained on, and why the others are not.

Writes `rows.jsonl` (kept), `dropped.jsonl` (with reasons) and `stats.json`. Cost: linear in the text.
"""

import json
from collections.abc import Mapping

from pydantic import JsonValue

from msm.data.tokens import count_tokens
from msm.stages.context import Context, Result
from msm.stages.params import mapping, names, number, optional_integer, read_rows, texts, write_rows
from msm.synth.curate import Settings, curate
from msm.synth.decontaminate import read_items
from msm.synth.gates import RowGates


def run(context: Context) -> Result:
    """Curate the written rows."""
    params = context.params
    rows = [row for path in context.paths("rows", only=("rows.jsonl",)) for row in read_rows(path / "rows.jsonl")]
    items = [item for identity in texts(params, "items") for item in read_items(context.blob(identity), "items")]
    (model,) = context.paths("model", only=("tokenizer.json",))
    found = curate(rows, settings_of(params), items, lambda texts: count_tokens(model / "tokenizer.json", texts), context.stage.name)
    write_rows(context.out / "rows.jsonl", found.kept)
    write_rows(context.out / "dropped.jsonl", found.dropped)
    (context.out / "stats.json").write_text(json.dumps(found.stats, indent=1), encoding="utf-8")
    return Result({"documents": found.stats["documents"], "tokens": found.stats["tokens"], "dropped": len(found.dropped)})


def settings_of(params: Mapping[str, JsonValue]) -> Settings:
    """What a curate stage's parameters want."""
    identity = names(mapping(params, "identity"))
    return Settings(
        gates=RowGates(
            authored_as=identity["model"] if params.get("composed") else None,
            min_score=number(params, "minScore") if params.get("minScore") is not None else None,
            min_tokens=optional_integer(params, "minTokens") or 1,
            max_tokens=optional_integer(params, "maxTokens"),
            synthesised=params.get("synthesised") is True,
            provider=identity["provider"],
        ),
        near_duplicates=number(params, "nearDuplicates"),
        tokens=optional_integer(params, "tokens"),
        documents=optional_integer(params, "documents"),
    )
