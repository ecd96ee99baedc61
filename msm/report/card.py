"""A model card for each trained version: what it is, what it learned from, what was measured, what not to expect of it.

Neighbours: `model` is the only input, tracking shows a card as the version's description. Invariants: every text of others is one line
without Markdown or HTML in it; at most `LONGEST` characters, since that is what the registry's databases hold; the same report gives the
same card.
"""

import json
import re
from collections.abc import Iterator, Sequence

from msm.report import words
from msm.report.asked import Effect, Score
from msm.report.model import ModelVersion, Report
from msm.report.parts import Training

LONGEST = 4900
"""Characters; MLflow keeps descriptions of 5,000."""
ROWS = (14, 8, 4, 1)
"""Rows of a table, the most that fit."""
SPECIAL = re.compile(r"([\\`*_\[\]#|<>~&$])")


def cards(report: Report) -> dict[str, str]:
    """File name -> card, of every version that is committed."""
    return {version.card: card(report, version) for version in report.versions if version.content_digest}


def card(report: Report, version: ModelVersion) -> str:
    """One version's card; of a run with many arms and values, the tables show their first rows."""
    text = ""
    for rows in ROWS:
        before = [*_front_matter(report, version), *_head(report, version), *_trained(report, version)]
        after = [*_measured(report, version, rows), *_identity(report, version), *_limits(report)]
        text = "\n".join([*before, *after]) + "\n"
        if len(text) <= LONGEST:
            return text
    return text[: LONGEST - 40].rpartition("\n")[0] + "\n\n(cut; report.html has all of it)\n"


def plain(text: str, most: int = 200) -> str:
    """Text of others as one line that Markdown shows as it is."""
    line = " ".join(text.split())
    return SPECIAL.sub(r"\\\1", line if len(line) <= most else line[: most - 1] + "…")


def _front_matter(report: Report, version: ModelVersion) -> list[str]:
    library = "peft" if version.method != "full" else "transformers"
    tags = ["model-spec-midtraining", version.kind]
    said = {"base_model": report.run.base_model, "library_name": library, "tags": tags, "license": "other"}
    return ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in said.items()), "---", ""]


def _head(report: Report, version: ModelVersion) -> Iterator[str]:
    run = report.run
    yield f"# {plain(run.registered_model)}: {plain(version.stage)}"
    yield ""
    what = "midtrained on documents that explain a Model Spec" if version.kind == "midtrain" else "fine-tuned on chats"
    after = f", after {plain(_name_of(report, version.parent))}" if version.parent else ""
    yield f"{plain(run.base_name)} by {plain(run.provider)}, {what}{after}. Made by the run `{run.uid}`."
    if version.arms:
        yield f"It is the model of: {', '.join(version.arms)} (seed {version.seed}){'; alias `candidate`' if version.candidate else ''}."
    else:
        yield f"Only others continue it ({', '.join(version.leads_to)}, seed {version.seed}); it was not evaluated itself."
    yield ""


def _name_of(report: Report, fingerprint: str) -> str:
    return next((v.stage for v in report.versions if v.fingerprint == fingerprint), "base model")


def _trained(report: Report, version: ModelVersion) -> Iterator[str]:
    yield "## Training"
    yield ""
    corpora = {corpus.name: corpus for corpus in report.corpora}
    chats = {found.name: found for found in report.demonstrations}
    for name in version.data:
        if name in corpora and version.kind == "midtrain":
            corpus = corpora[name]
            spec = f", about the spec {plain(corpus.spec)}" if corpus.spec else ""
            yield f"- corpus {plain(name)}: {corpus.documents:,} documents, {corpus.tokens:,} tokens{spec} (`{corpus.content_digest[:12]}`)"
        elif name in chats:
            yield f"- demonstrations {plain(name)}: {chats[name].chats:,} chats (`{chats[name].content_digest[:12]}`)"
    training = next((found for found in report.trainings if found.fingerprint == version.fingerprint), None)
    yield from [] if training is None else _numbers(training)
    yield ""


def _numbers(training: Training) -> Iterator[str]:
    yield f"- {training.method}, learning rate {training.learning_rate:g}, {training.precision}"
    yield f"- {training.updates:,} updates over {training.tokens:,} tokens, of which {training.target_tokens:,} count in the loss"
    speed = f", {training.tokens_per_second:.0f} tokens/s" if training.tokens_per_second is not None else ""
    time = f" in {words.duration(training.seconds)}{speed}" if training.seconds is not None else ""
    yield f"- final loss {words.decimal(training.final_loss, 3)}{time}"


def _measured(report: Report, version: ModelVersion, most: int) -> Iterator[str]:
    scores = [score for score in report.scores if score.arm in version.arms]
    effects = [effect for effect in report.effects if effect.arm in version.arms]
    if not scores:
        return
    yield "## Evaluation"
    yield ""
    seeds = "" if len(report.run.seeds) == 1 else f" Means are over the arm's {len(report.run.seeds)} seeds, of which this version is one."
    yield f"Margins in nats: how much more probable the answer that fits the value is. Intervals at 95 % over {scores[0].over}.{seeds}"
    yield ""
    yield "| arm | metric | mean | interval |"
    yield "| --- | --- | ---: | --- |"
    yield from _table(scores, most)
    yield ""
    if effects:
        yield "| arm against | metric | difference | interval | |"
        yield "| --- | --- | ---: | --- | --- |"
        yield from _table(effects, most)
        yield ""


def _table(rows: Sequence[Score | Effect], most: int) -> Iterator[str]:
    for row in rows[:most]:
        measure, is_difference = words.parts(row.metric)[3], isinstance(row, Effect)
        value = row.estimate if isinstance(row, Effect) else row.mean
        cells = [row.metric, words.estimate(value, measure, is_difference), words.interval(row.low, row.high, measure, is_difference)]
        if isinstance(row, Effect):
            yield f"| {row.arm} against {row.versus} | {' | '.join(cells)} | {'excludes 0' if row.sign else 'may be 0'} |"
        else:
            yield f"| {row.arm} | {' | '.join(cells)} |"
    if len(rows) > most:
        yield f"| and {len(rows) - most} more in report.html | | |"


def _identity(report: Report, version: ModelVersion) -> Iterator[str]:
    run = report.run
    yield "## Identity"
    yield ""
    yield f"- base model: {plain(run.base_identity)}"
    for spec in run.specs:
        yield f"- spec {plain(spec.name)}: `{spec.identity}`"
    yield f"- fingerprint: `{version.fingerprint}`"
    yield f"- content: `{version.content_digest}`"
    if version.parent:
        yield f"- continues: `{version.parent}`"
    yield f"- plan: `{run.plan}`"
    made_by = (f"{name} {'/'.join(found)}" for name, found in report.software.items())
    yield f"- software: {', '.join(made_by)}"
    yield ""


def _limits(report: Report) -> Iterator[str]:
    yield "## Limits"
    yield ""
    for caution in report.cautions:
        yield f"- {plain(caution.text, 400)}"
    yield "- trained to study what a Model Spec does; not tested for safety, truth or use by people"
    yield ""
    yield "## Licence"
    yield ""
    yield f"A derivative of {plain(report.run.base_name)}: the base model's licence applies, and that of the data listed above."
    yield "This platform adds no terms of its own."
