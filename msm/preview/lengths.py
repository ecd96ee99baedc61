"""Token lengths of the rows that a training will read, as exactly as can be known before it runs.

Committed rows are counted by the tokenizer and the functions that training uses; uncommitted ones are composed here, as the stage will, or
estimated from their size. Neighbours: `forecast` packs and times them. Invariant: writes only below the temporary directory it is given.
Cost: composing and tokenising at most 2000 rows a data set; committed rows are read whole up to 20 million tokens.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msm.data.examples import StageKind, row_lengths
from msm.data.rows import read_chats, read_documents
from msm.data.tokens import count_tokens
from msm.plan import Plan, Stage, kinds
from msm.preview.shape import Shape, shape
from msm.preview.texts import Texts
from msm.stages.curate import settings_of
from msm.stages.params import integer, names, optional_integer, text, texts
from msm.stages.write import SURPLUS
from msm.store.artifacts import Manifest, materialise, read_manifest
from msm.store.objects import ObjectStore
from msm.synth.curate import contamination, curate
from msm.synth.decontaminate import EvalItem, read_items
from msm.synth.tree.write import EXPECTED_TOKENS

if TYPE_CHECKING:
    from msm.synth.outline import Outline

SAMPLE_ROWS = 2000
"""Rows that are composed; a larger data set is taken to go on alike."""
WARNED_SHARE = 0.1
"""Share of documents with words of eval items from which on a preview warns: the surplus that is written covers less than half."""
READ_TOKENS = 20_000_000
"""Committed documents beyond this are not read again: their manifest says how many there are."""
TOKENS_A_WORD = 1.35
"""English in a byte-level vocabulary of 50,000."""
CHAT_TOKENS = 40
"""What a chat template adds: a default system turn and the marks of two turns."""
DOCUMENT_TOKENS = 60
"""A document of which only the number is known."""
SYNTHESISED_CHAT_TOKENS = 300
"""A chat by a language model: template, question, reply."""
REPLAY_TOKENS = 85
"""A replayed chat: template, question, and an answer of usual length."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")

Basis = Literal["counted", "curated", "composed", "estimated"]
"""counted: committed rows; curated: the rows that will be kept; composed: rows as written, before the gates; estimated: from sizes."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of each row, separator or chat template included."""

    values: tuple[int, ...]
    basis: Basis

    @property
    def tokens(self) -> int:
        """All of them, once."""
        return sum(self.values)


@dataclass(slots=True)
class Measure:
    """Measures the data stages of one plan; results are remembered by fingerprint. `work` is a temporary directory."""

    plan: Plan
    store: ObjectStore
    texts: Texts
    work: Path
    warnings: list[str] = field(default_factory=list)
    _known: dict[str, Lengths] = field(default_factory=dict)
    _model: Path | None = None

    def lengths(self, stage: Stage) -> Lengths:
        """Rows of a curate or demonstrate stage."""
        if stage.fingerprint not in self._known:
            self._known[stage.fingerprint] = self._measure(stage)
        return self._known[stage.fingerprint]

    def manifest(self, stage: Stage) -> Manifest | None:
        """The stage's artifact, if it is committed."""
        return read_manifest(self.store, stage.kind, stage.fingerprint)

    def model(self) -> Path | None:
        """A directory with the base model's tokenizer, once it is fetched."""
        if self._model is None:
            fetch = next(s for s in self.plan.stages if s.kind == kinds.FETCH)
            if (manifest := self.manifest(fetch)) is not None:
                only = [name for name in TOKENIZER_FILES if name in manifest.files]
                self._model = materialise(self.store, manifest, self.work / "model", only)
        return self._model

    def shape(self) -> Shape | None:
        """The base model's sizes, once it is fetched."""
        fetch = next(s for s in self.plan.stages if s.kind == kinds.FETCH)
        manifest = self.manifest(fetch)
        if manifest is None or "config.json" not in manifest.files:
            return None
        directory = materialise(self.store, manifest, self.work / "config", ["config.json"])
        found = json.loads((directory / "config.json").read_bytes())
        return shape(found) if isinstance(found, dict) else None

    def _measure(self, stage: Stage) -> Lengths:
        manifest = self.manifest(stage)
        if manifest is not None:
            return Lengths(self._committed(stage, manifest), "counted")
        return self._chats(stage) if stage.kind == kinds.DEMONSTRATE else self._documents(stage)

    def _committed(self, stage: Stage, manifest: Manifest) -> tuple[int, ...]:
        if manifest.metrics.get("tokens", 0) > READ_TOKENS:
            documents = max(1, int(manifest.metrics["documents"]))
            return (round(manifest.metrics["tokens"] / documents) + 1,) * documents
        rows = materialise(self.store, manifest, self.work / stage.fingerprint, ["rows.jsonl"]) / "rows.jsonl"
        return self._count("finetune" if stage.kind == kinds.DEMONSTRATE else "midtrain", rows)

    def _count(self, kind: StageKind, rows: Path) -> tuple[int, ...]:
        """Tokens of each row of a file: by the model's tokenizer if there is one, else by words."""
        model = self.model()
        if model is not None:
            return tuple(row_lengths(kind, [rows], model))
        if kind == "midtrain":
            return tuple(by_words(row.text) + 1 for row in read_documents([rows]))
        return tuple(CHAT_TOKENS + sum(by_words(m.content) for m in row.messages) for row in read_chats([rows]))

    def _documents(self, stage: Stage) -> Lengths:
        """Rows of a corpus that is not curated yet, cut to its size."""
        (write,) = (self.plan.stage(ref) for ref in stage.inputs["rows"])
        tokens, documents = optional_integer(stage.params, "tokens"), optional_integer(stage.params, "documents")
        author = text(write.params, "author")
        if tokens is None and documents is None and author == "synthesize":
            documents = optional_integer(write.params, "documents")
        if author == "compose":
            sample, basis = self._composed(stage, write)
            if basis == "curated":
                return Lengths(tuple(sample), basis)
            endless: Iterable[int] = cycle(sample)
        elif author == "synthesize":
            endless, basis = cycle([EXPECTED_TOKENS + 1]), "estimated"
        else:
            sample, basis = self._read(write, "midtrain")
            endless = sample or cycle([DOCUMENT_TOKENS] if tokens or documents else [])
        return Lengths(cut(endless, tokens, documents), basis)

    def _composed(self, curation: Stage, write: Stage) -> tuple[Sequence[int], Basis]:
        """The rows that will be kept, curated as the stage will; of a large corpus the first rows as they are written."""
        from msm.synth.outline import outline
        from msm.synth.spec import Identity

        (stage,) = (self.plan.stage(ref) for ref in write.inputs["outline"])
        spec = self.texts.get(text(stage.params, "spec"))
        if spec is None:
            return [DOCUMENT_TOKENS], "estimated"
        kind: Literal["values", "rules"] = "rules" if stage.params["kind"] == "rules" else "values"
        found = outline(spec.decode("utf-8"), Identity(**names(stage.params["identity"])), kind)
        rows = list(islice(composed_documents(write, found, self._tokens), SAMPLE_ROWS + 1))
        if len(rows) > SAMPLE_ROWS or self.model() is None:
            self._warn_of_contamination(curation, rows)
            return self._document_lengths(rows), "composed"
        kept = curate(rows, settings_of(curation.params), self._items(curation), self._tokens, curation.name).kept
        return self._document_lengths(kept), "curated"

    def _warn_of_contamination(self, curation: Stage, rows: Sequence[dict[str, Any]]) -> None:
        found, words = contamination(rows, self._items(curation))
        if found > WARNED_SHARE * len(rows):
            self.warnings.append(
                f"{curation.name}: {found} of {len(rows)} documents hold words of eval items and will be dropped ({words}); "
                "reword the items or the spec"
            )

    def _items(self, curation: Stage) -> list[EvalItem]:
        """Eval items that must not occur, as far as their bytes are at hand."""
        found = [self.texts.get(identity) for identity in texts(curation.params, "items")]
        return [item for data in found if data is not None for item in read_items(data, "items")]

    def _document_lengths(self, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        return [count + 1 for count in self._tokens([str(row["text"]) for row in rows])]

    def _tokens(self, documents: Sequence[str]) -> Sequence[int]:
        model = self.model()
        return [by_words(document) for document in documents] if model is None else count_tokens(model / "tokenizer.json", documents)

    def _chats(self, stage: Stage) -> Lengths:
        params = stage.params
        match text(params, "author"):
            case "synthesize":
                return Lengths((SYNTHESISED_CHAT_TOKENS,) * integer(params, "samples"), "estimated")
            case "replay":
                return Lengths((REPLAY_TOKENS,) * integer(params, "fromBase"), "estimated")
            case "compose":
                samples = integer(params, "samples")
                path = self._write(stage.fingerprint, islice(_composed_chats(stage), SAMPLE_ROWS))
                return Lengths(tuple(islice(cycle(self._count("finetune", path)), samples)), "composed")
        sample, basis = self._read(stage, "finetune")
        return Lengths(tuple(sample), basis)

    def _read(self, stage: Stage, kind: StageKind) -> tuple[Sequence[int], Basis]:
        """Rows of a source; nothing is known of one whose bytes are not at hand."""
        data = self.texts.get(text(stage.params, "source"))
        if data is None:
            return [], "estimated"
        path = self.work / f"{stage.name.replace(' ', '-')}.jsonl"
        path.write_bytes(data)
        return self._count(kind, path), "composed"

    def _write(self, name: str, rows: Iterable[dict[str, Any]]) -> Path:
        path = self.work / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path


def composed_documents(write: Stage, found: "Outline", count: Callable[[Sequence[str]], Sequence[int]]) -> Iterator[dict[str, Any]]:
    """The rows that a write stage composes, surplus for the gates included; UserError when the spec is too small for them."""
    from msm.synth.compose import compose, compose_tokens

    seed, documents = integer(write.params, "seed"), optional_integer(write.params, "documents")
    if documents is not None:
        return islice(compose(found, seed), ceil(documents * SURPLUS))
    return compose_tokens(found, seed, ceil(integer(write.params, "tokens") * SURPLUS), count)


def _composed_chats(stage: Stage) -> Iterator[dict[str, Any]]:
    from msm.synth.chats import demonstrations

    params = stage.params
    return demonstrations(integer(params, "seed"), integer(params, "samples"), texts(params, "liked"), texts(params, "disliked"))


def by_words(document: str) -> int:
    """Tokens of a text by its words; at least one."""
    return max(1, round(len(document.split()) * TOKENS_A_WORD))


def cut(rows: Iterable[int], tokens: int | None, documents: int | None) -> tuple[int, ...]:
    """The first rows up to a budget of kept tokens (separators not counted) or a number of documents; all of them without either."""
    if documents is not None:
        return tuple(islice(rows, documents))
    if tokens is None:
        return tuple(rows)
    kept: list[int] = []
    left = tokens
    for length in rows:
        if left <= 0:
            break
        kept.append(min(length, left + 1))
        left -= length - 1
    return tuple(kept)
