"""curate: which documents are trained on, and why the others are not.

Writes `rows.jsonl` (kept), `dropped.jsonl` (with reasons) and `stats.json`. Rows are judged in as many processes as there are processors
and copied line by line, so that a corpus never lies in memory. Cost: a few ms a document of 1,200 tokens and core (docs/benchmarks.md).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from msm.stages.context import Context, Result
from msm.stages.meaning import TOKENIZER, encoder, vectors_of
from msm.stages.params import mapping, names, number, optional_integer, texts, write_rows
from msm.synth.curate import Decided, Settings, decide, dropped
from msm.synth.decontaminate import EvalItem, read_items
from msm.synth.gates import RowGates
from msm.synth.judge import Judge, Semantics
from msm.synth.meaning import Meaning
from msm.synth.workers import RowFile, judged, processes_for


@dataclass(frozen=True, slots=True)
class Opening:
    """How a judge is made in another process: settings, items, the tokenizer's directory, and the file with the vectors, if any."""

    settings: Settings
    items: tuple[EvalItem, ...]
    model: Path
    vectors: Path | None

    def open(self) -> Judge:
        """The judge."""
        import numpy as np

        encode, semantics = encoder(self.model), None
        if self.vectors is not None:
            table = Meaning(np.load(self.vectors, mmap_mode="r", allow_pickle=False))
            duplicates = self.settings.semantic_duplicates is not None
            semantics = Semantics(table, encode, duplicates, self.settings.semantic_contamination)  # type: ignore[arg-type]
        return Judge(self.settings.gates, self.items, lambda found: [len(ids) for ids in encode(list(found))], semantics)


def run(context: Context) -> Result:
    """Curate the written rows."""
    settings = settings_of(context.params)
    items = tuple(item for identity in texts(context.params, "items") for item in read_items(context.blob(identity), "items"))
    (model,) = context.paths("model", only=TOKENIZER)
    by_meaning = settings.semantic_duplicates is not None or settings.semantic_contamination is not None
    vectors = vectors_of(context, "quality.semanticDuplicates") if by_meaning else None
    opening = Opening(settings, items, model, vectors)
    rows = RowFile([path / "rows.jsonl" for path in context.paths("rows", only=("rows.jsonl",))])

    def look(done: int) -> None:
        context.check_stop()
        context.progress.at(done, len(rows))

    parts = list(judged(rows, opening, processes_for(len(rows)), look))
    found = decide(rows, parts, settings, context.stage.name)
    write_curated(context.out, rows, found)
    return Result({"documents": found.stats["documents"], "tokens": found.stats["tokens"], "dropped": len(found.drops)})


def write_curated(out: Path, rows: RowFile, found: Decided) -> None:
    """The three files of the artifact."""
    kept = [number for number in range(len(rows)) if number not in found.drops]
    with (out / "rows.jsonl").open("wb") as file:
        file.writelines(rows.lines(kept))
    write_rows(out / "dropped.jsonl", (dropped(rows[number], drop) for number, drop in found.drops.items()))
    (out / "stats.json").write_text(json.dumps(found.stats, indent=1), encoding="utf-8")


def settings_of(params: Mapping[str, JsonValue]) -> Settings:
    """What a curate stage's parameters want."""
    identity = names(mapping(params, "identity"))
    return Settings(
        gates=RowGates(
            authored_as=identity["model"] if params.get("composed") else None,
            min_score=_optional(params, "minScore"),
            min_tokens=optional_integer(params, "minTokens") or 1,
            max_tokens=optional_integer(params, "maxTokens"),
            synthesised=params.get("synthesised") is True,
            provider=identity["provider"],
        ),
        near_duplicates=number(params, "nearDuplicates"),
        tokens=optional_integer(params, "tokens"),
        documents=optional_integer(params, "documents"),
        semantic_duplicates=_optional(params, "semanticDuplicates"),
        semantic_contamination=_optional(params, "semanticContamination"),
    )


def _optional(params: Mapping[str, JsonValue], name: str) -> float | None:
    return None if params.get(name) is None else number(params, name)
