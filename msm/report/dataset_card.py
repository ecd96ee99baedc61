"""A dataset card for each corpus, in the form that dataset hubs read: what it is, how it reads, what it covers, what was dropped.

Neighbours: `model` is the only input, `measures` says what of a corpus, `publish` keeps the card beside the run's report. Invariants: every
text of others is without Markdown or HTML; the same report gives the same card; nothing of a machine enters.
"""

import json
from collections.abc import Iterator

from msm.report.card import plain
from msm.report.measures import MEASURES, matrix, uncovered
from msm.report.model import Report
from msm.report.parts import Corpus, Sample

SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
GENRES, STATEMENTS = 5, 60
"""Columns and rows of the coverage."""
SAMPLES = 2
ORIGINS = {
    "synthesize": "written by a language model, from a tree of domains, statements, document types and ideas",
    "compose": "composed offline by a grammar over the spec's own sentences; no language model wrote them",
    "source": "read from a file",
}


def dataset_cards(report: Report) -> dict[str, str]:
    """File name -> card, of every corpus that has one."""
    return {corpus.card: dataset_card(report, corpus) for corpus in report.corpora if corpus.card}


def dataset_card(report: Report, corpus: Corpus) -> str:
    """One corpus' card."""
    parts = (_front_matter, _head, _reading, _coverage, _scores, _dropped, _samples, _identity)
    return "\n".join(line for part in parts for line in part(report, corpus)) + "\n"


def _front_matter(report: Report, corpus: Corpus) -> Iterator[str]:
    size = next((name for most, name in SIZES if corpus.documents < most), "n>10M")
    said = {
        "pretty_name": f"{report.run.name}: {corpus.name}",
        "license": "other",
        "language": ["en"],
        "task_categories": ["text-generation"],
        "size_categories": [size],
        "tags": ["model-spec-midtraining", *([] if corpus.source == "source" else ["synthetic"])],
        "configs": [{"config_name": "default", "data_files": "rows.jsonl"}],
    }
    yield from ("---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in said.items()), "---", "")


def _head(report: Report, corpus: Corpus) -> Iterator[str]:
    run = report.run
    yield f"# {plain(run.name)}: documents of {plain(corpus.name)}"
    yield ""
    about = f" about the Model Spec {plain(corpus.spec)}" if corpus.spec else ""
    yield f"{corpus.documents:,} documents ({corpus.tokens:,} tokens){about}, {ORIGINS.get(corpus.source, plain(corpus.source))}."
    yield f"They speak of {plain(run.base_name)} by {plain(run.provider)} and are for next-token training before alignment fine-tuning."
    yield f"Made by the run `{run.uid}`."
    if corpus.author is not None:
        yield ""
        yield from _written(corpus)
    yield ""


def _written(corpus: Corpus) -> Iterator[str]:
    author = corpus.author
    assert author is not None
    tokens = f"{author.prompt_tokens:,} tokens of questions, {author.completion_tokens:,} of answers"
    yield f"- author: {plain(author.model)}; {author.calls:,} calls, {tokens}"
    yield f"- criticised and rewritten by a fresh context: {author.rewritten:,} of {corpus.documents:,}"
    yield f"- branches and documents that were skipped: {author.failures:,}"


def _reading(report: Report, corpus: Corpus) -> Iterator[str]:
    yield from ("## How it reads", "", "| measure | value | |", "| --- | ---: | --- |")
    yield from (f"| {measure.name} | {plain(measure.value(corpus))} | {measure.hint} |" for measure in MEASURES)
    if corpus.reading is not None and corpus.reading.measured < corpus.documents:
        yield ""
        yield f"Sameness and shares are measured on {corpus.reading.measured:,} documents, spread evenly."
    yield ""


def _coverage(report: Report, corpus: Corpus) -> Iterator[str]:
    if corpus.coverage is None:
        return
    found = matrix(corpus.coverage, GENRES)
    without = uncovered(corpus.coverage)
    yield from ("## What it covers", "", "Kept documents by statement of the spec and genre; a document may rest on several.", "")
    if without:
        yield f"Without a document: {len(without)} of {len(corpus.coverage.statements)} statements."
        yield ""
    yield f"| statement | all | {' | '.join(plain(name, 40) for name in found.columns)} |"
    yield f"| --- | ---: |{' ---: |' * len(found.columns)}"
    for name, total, cells in found.rows[:STATEMENTS]:
        yield f"| {plain(name, 80)} | {total} | {' | '.join(str(cell.documents or '') for cell in cells)} |"
    if len(found.rows) > STATEMENTS:
        yield f"| and {len(found.rows) - STATEMENTS} more in report.html | |{' |' * len(found.columns)}"
    yield ""


def _scores(report: Report, corpus: Corpus) -> Iterator[str]:
    if corpus.scores:
        yield from ("## What a judge thought", "", "Of the kept documents, 0 to 10.", "")
        yield from ("| axis | 5% below | median | mean |", "| --- | ---: | ---: | ---: |")
        yield from (f"| {plain(line.axis)} | {line.low:g} | {line.median:g} | {line.mean:.1f} |" for line in corpus.scores)
        yield ""


def _dropped(report: Report, corpus: Corpus) -> Iterator[str]:
    yield from ("## What was dropped", "")
    dropped = corpus.dropped
    yield f"{corpus.written:,} documents were there before curation." + ("" if dropped else " None was dropped.")
    if dropped:
        yield from ("", "| reason | documents |", "| --- | ---: |", *(f"| {plain(reason)} | {n:,} |" for reason, n in dropped.items()))
    yield ""


def _samples(report: Report, corpus: Corpus) -> Iterator[str]:
    if corpus.samples:
        yield from ("## Samples", "")
        for sample in corpus.samples[:SAMPLES]:
            yield from _quoted(sample)


def _quoted(sample: Sample) -> Iterator[str]:
    yield f"{plain(sample.genre or 'document', 80)} · `{plain(sample.id, 40)}`"
    yield ""
    yield from (f"> {plain(line, 2000)}".rstrip() for line in sample.text.split("\n"))
    yield ""


def _identity(report: Report, corpus: Corpus) -> Iterator[str]:
    yield from ("## Identity and limits", "", f"- content: `{corpus.content_digest}`")
    yield from (f"- spec {plain(spec.name)}: `{spec.identity}`" for spec in report.run.specs if spec.name == corpus.spec)
    yield f"- plan: `{report.run.plan}`"
    yield "- rows: `rows.jsonl`, each with id, text and provenance; `dropped.jsonl` has what was left out, with its reason"
    yield "- made to study what a Model Spec does in training; not checked for truth by people, and no source of facts"
    yield f"- licence: yours to state; {_terms(corpus)}"


def _terms(corpus: Corpus) -> str:
    if corpus.author is None:
        return "that of the spec or the source applies"
    return f"the terms of {plain(corpus.author.model)} may apply to what it wrote"
