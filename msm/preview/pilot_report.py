"""A pilot's findings: what was written, what passed and what not, and what the full run will take.

Over `msm.results` (artifacts), `asks` (the journal), `sample` and `projection`; `cli` prints it. Invariants: reads only; a part whose stage
was given up is there with its message; every projected number is an interval. Cost: the pilot's rows, and a walk through the journal.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from msm.api import MSMRun
from msm.api.base import Part
from msm.data.tokens import count_tokens
from msm.plan import Plan, Stage, kinds
from msm.preview.asks import answers_of
from msm.preview.forecast import forecast
from msm.preview.pilot import full_documents, used_chats, used_corpora
from msm.preview.projection import Piloted, StageProjection, project
from msm.preview.report import Forecast
from msm.preview.sample import Between, Sample, needed_surplus
from msm.preview.texts import Texts, texts_of
from msm.results.artifacts import Artifacts
from msm.stages.curate import settings_of
from msm.store import ObjectStore

ELSE = "contaminated or near-duplicate"
"""Reason of a row of which only is known that it passed the gates that look at one row alone."""
FRESH = 0.5
"""Share of answers that must be new for a stage's time to say anything."""


class PilotPart(Part):
    """One corpus or demonstration set."""

    name: str
    """Its name."""
    what: Literal["documents", "dialogues"]
    """What it is made of."""
    message: str
    """Why there is nothing, or not all; empty when its stages ended well."""
    asked: int
    """Ideas, or candidates."""
    made: int
    """Rows before the gates."""
    passed: int
    """Rows that pass."""
    share: tuple[float, float, float]
    """Share that passes, and its interval."""
    dropped: dict[str, int]
    """Reason -> rows."""
    failures: dict[str, int]
    """Step: reason -> questions without an answer."""
    scores: dict[str, tuple[float, float, float]]
    """Axis -> (least, median, most) score; empty without a judge."""
    tokens_each: tuple[float, float, float] | None
    """Tokens of a document, by the base model's tokenizer, and their interval."""
    surplus: float | None
    """Written for each one to be kept, in the full run."""
    safe_surplus: float | None
    """The least that is enough even at the low end of the share; null when nothing passed."""
    rows: tuple[dict[str, Any], ...]
    """What passed."""
    dropped_rows: tuple[dict[str, Any], ...]
    """What did not, with "reason" and "detail"."""


class PilotReport(Part):
    """What `msm pilot` found."""

    run: str
    """Name of the full run."""
    uid: str
    """Identity of the pilot."""
    parts: tuple[PilotPart, ...]
    """Corpora, then demonstration sets."""
    stages: tuple[StageProjection, ...]
    """The full run's asking, as far as it is not done."""
    answers: int
    """Answers of the pilot."""
    reused: int
    """Of these, how many the full run uses without asking again."""
    calls: tuple[int, int]
    """Questions that the full run has still to ask."""
    tokens: tuple[int, int]
    """Their tokens, prompts and answers."""
    price: tuple[float, float] | None
    """Their price; null where no endpoint states one."""
    seconds: tuple[float, float] | None
    """Their time, one stage after the other; null where a stage's is not known."""


@dataclass(frozen=True, slots=True)
class Sides:
    """The full run and its pilot."""

    run: MSMRun
    plan: Plan
    foreseen: Forecast
    pilot: Plan
    store: ObjectStore
    artifacts: Artifacts
    texts: Texts
    messages: Mapping[str, str]


def pilot_report(
    run: MSMRun, uid: str, plan: Plan, pilot: Plan, store: ObjectStore, base: Path, cache: Path, messages: Mapping[str, str]
) -> PilotReport:
    """The findings of a pilot; `messages` say by stage name why it was given up, `base` is the directory of the run's file."""
    foreseen, artifacts = forecast(run, uid, plan, store, base), Artifacts.of(pilot, store, cache)
    sides = Sides(run, plan, foreseen, pilot, store, artifacts, texts_of(run, base, store), messages)
    parts, stages = tuple(_parts(sides)), tuple(_projections(sides))
    mine, theirs = _digests(pilot, sides), _digests(plan, sides)
    steps = [step for stage in stages for step in stage.steps]
    prices = [step.price for step in steps if step.price is not None]
    times = [stage.seconds for stage in stages]
    return PilotReport(
        run=run.metadata.name,
        uid=uid,
        parts=parts,
        stages=stages,
        answers=len(mine),
        reused=len(mine & theirs),
        calls=_sum([(max(0, s.calls[0] - s.answered), max(0, s.calls[1] - s.answered)) for s in steps]),
        tokens=_sum([s.prompt_tokens for s in steps] + [s.completion_tokens for s in steps]),
        price=(sum(low for low, _ in prices), sum(high for _, high in prices)) if prices else None,
        seconds=(sum(t[0] for t in times if t), sum(t[1] for t in times if t)) if all(times) else None,
    )


def _sum(pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(low for low, _ in pairs), sum(high for _, high in pairs)


def _digests(plan: Plan, sides: Sides) -> set[str]:
    asking = (stage for stage in plan.stages if stage.params.get("author") == "synthesize")
    found = (answers_of(stage, plan, sides.store, sides.texts) for stage in asking)
    return {digest for steps in found for answers in steps.values() for digest in answers}


def stage_named(plan: Plan, name: str) -> Stage:
    """A stage by its name; KeyError when the plan has none."""
    for stage in plan.stages:
        if stage.name == name:
            return stage
    raise KeyError(name)


def _parts(sides: Sides) -> Iterator[PilotPart]:
    for corpus in used_corpora(sides.run):
        if corpus.synthesize is not None:
            message = "; ".join(filter(None, (_message(sides, f"write {corpus.name}"), sides.messages.get(f"curate {corpus.name}"))))
            yield _part(sides, corpus.name, "documents", message, corpus.synthesize.surplus)
    for chats in used_chats(sides.run):
        if chats.synthesize is not None:
            yield _part(sides, chats.name, "dialogues", sides.messages.get(f"demonstrate {chats.name}", ""), None)


def _message(sides: Sides, write: str) -> str:
    """Why documents were not written: what became of their outline, or of the writing."""
    stage = stage_named(sides.pilot, write)
    names = (sides.pilot.stage(stage.inputs["outline"][0]).name, write)
    return "; ".join(f"{name}: {sides.messages[name]}" for name in names if name in sides.messages)


def _part(sides: Sides, name: str, what: Literal["documents", "dialogues"], message: str, surplus: float | None) -> PilotPart:
    sample = sample_of(sides, name) if what == "documents" else chats_of(sides, name)
    stage = stage_named(sides.pilot, f"{'write' if what == 'documents' else 'demonstrate'} {name}")
    share, each = sample.passed_share, sample.brought(in_tokens=True)
    return PilotPart(
        name=name,
        what=what,
        message=message,
        asked=sample.asked,
        made=sample.made,
        passed=len(sample.passed),
        share=_triple(share),
        dropped=sample.reasons,
        failures=_failures(sides, stage),
        scores=sample.scores(),
        tokensEach=_triple(each) if sample.sizes else None,
        surplus=surplus,
        safeSurplus=needed_surplus(share) if what == "documents" else None,
        rows=tuple(dict(row) for row in sample.passed),
        droppedRows=tuple(dict(row) for row in sample.dropped),
    )


def _triple(found: Between) -> tuple[float, float, float]:
    return found.mean, found.low, found.high


def _failures(sides: Sides, stage: Stage) -> dict[str, int]:
    counts: dict[str, int] = {}
    refs = [ref for ref in (*stage.inputs.get("outline", ()), stage.ref) if ref in sides.artifacts]
    for row in chain.from_iterable(sides.artifacts.rows(ref, "failures.jsonl") for ref in refs):
        key = f"{row['step']}: {row['reason']}"
        counts[key] = counts.get(key, 0) + 1
    return counts


def sample_of(sides: Sides, corpus: str) -> Sample:
    """The documents of a pilot; nothing while they are not written."""
    write, curate = stage_named(sides.pilot, f"write {corpus}"), stage_named(sides.pilot, f"curate {corpus}")
    if write.ref not in sides.artifacts:
        return Sample((), (), 0, ())
    rows = sides.artifacts.rows(write.ref, "rows.jsonl")
    sizes, asked = _tokens(sides, rows), int(sides.artifacts.manifest(write.ref).metrics.get("ideas", len(rows)))
    usable = [size if row["provenance"]["finishReason"] == "stop" else 0 for row, size in zip(rows, sizes, strict=True)]
    if curate.ref in sides.artifacts:
        passed, dropped = (sides.artifacts.rows(curate.ref, name) for name in ("rows.jsonl", "dropped.jsonl"))
    else:
        passed, dropped = [], list(_judged(curate, rows, sizes))
    return Sample(tuple(passed), tuple(dropped), asked, (*usable, *[0] * (asked - len(rows))))


def _judged(curate: Stage, rows: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Rows of which none was kept, each with the gate that it fails alone, if it does."""
    gates = settings_of(curate.params).gates
    for row, size in zip(rows, sizes, strict=True):
        drop = gates.judge(dict(row), size)
        yield {**row, "reason": drop.reason if drop else ELSE, "detail": drop.detail if drop else ""}


def _tokens(sides: Sides, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    (fetch,) = (stage for stage in sides.pilot.stages if stage.kind == kinds.FETCH)
    tokenizer = sides.artifacts.file(fetch.ref, "tokenizer.json")
    assert tokenizer is not None, "documents are written after the base model is fetched"
    return list(count_tokens(tokenizer, [str(row["text"]) for row in rows]))


def chats_of(sides: Sides, name: str) -> Sample:
    """The dialogues of a pilot; nothing while there are none."""
    stage = stage_named(sides.pilot, f"demonstrate {name}")
    if stage.ref not in sides.artifacts:
        return Sample((), (), 0, ())
    passed, dropped = (sides.artifacts.rows(stage.ref, file) for file in ("rows.jsonl", "dropped.jsonl"))
    judged = [row for row in dropped if row["reason"] != "over budget"]
    spare = [row for row in dropped if row["reason"] == "over budget"]
    failed = int(sides.artifacts.manifest(stage.ref).metrics.get("failures", 0))
    return Sample((*passed, *spare), tuple(judged), len(passed) + len(dropped) + failed, ())


def _projections(sides: Sides) -> Iterator[StageProjection]:
    """Every asking stage of the full run that is still to run, with its pilot."""
    foreseen = {stage.fingerprint: stage for stage in sides.foreseen.stages if stage.asks}
    seen: set[str] = set()
    for full, pilot, outline, sample in _pairs(sides):
        if full.fingerprint in foreseen and full.fingerprint not in seen:
            seen.add(full.fingerprint)
            yield project(full, foreseen[full.fingerprint].asks, _piloted(sides, pilot, sample), outline)


def _pairs(sides: Sides) -> Iterator[tuple[Stage, Stage, Stage | None, Sample | None]]:
    """(stage of the full run, its pilot, the outline that the full one reads, the pilot's rows)."""
    for corpus in used_corpora(sides.run):
        if corpus.synthesize is not None:
            full, pilot = (stage_named(plan, f"write {corpus.name}") for plan in (sides.plan, sides.pilot))
            outlines = [plan.stage(stage.inputs["outline"][0]) for plan, stage in ((sides.plan, full), (sides.pilot, pilot))]
            yield outlines[0], outlines[1], None, None
            yield full, pilot, outlines[0], sample_of(sides, corpus.name)
    for chats in used_chats(sides.run):
        if chats.synthesize is not None:
            full, pilot = (stage_named(plan, f"demonstrate {chats.name}") for plan in (sides.plan, sides.pilot))
            yield full, pilot, None, chats_of(sides, chats.name)


def _piloted(sides: Sides, pilot: Stage, sample: Sample | None) -> Piloted:
    outline = pilot if pilot.kind == kinds.OUTLINE else next((sides.pilot.stage(r) for r in pilot.inputs.get("outline", ())), None)
    shape = None
    if outline is not None and outline.ref in sides.artifacts:
        metrics = sides.artifacts.manifest(outline.ref).metrics
        shape = int(metrics["domains"]), int(metrics["subdomains"])
    answers = answers_of(pilot, sides.pilot, sides.store, sides.texts)
    usages = {step: list(found.values()) for step, found in answers.items()}
    at_once = sample.asked if sample is not None and sample.asked else 10**6
    known = sample if sample is not None and sample.made else None
    return Piloted(pilot, usages, shape, known, _pace(sides, pilot), at_once)


def _pace(sides: Sides, stage: Stage) -> float | None:
    """Fresh tokens a second of a stage's answers; None where most were there before."""
    if stage.ref not in sides.artifacts:
        return None
    manifest = sides.artifacts.manifest(stage.ref)
    calls, took = manifest.metrics.get("calls", 0), (manifest.ended - manifest.started).total_seconds()
    fresh = 1 - manifest.metrics.get("reusedCalls", 0) / calls if calls else 0.0
    return None if fresh < FRESH or took <= 0 else manifest.metrics["completionTokens"] * fresh / took


def shown_of_full(run: MSMRun) -> dict[str, int]:
    """Corpus -> documents that the full run will about write."""
    return {corpus.name: full_documents(corpus) for corpus in used_corpora(run) if corpus.synthesize is not None}
