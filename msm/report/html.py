"""`report.json` as one self-contained HTML file: inline style and SVG, no script, nothing loaded from anywhere.

Neighbours: `model` is the only input, `figures` draws, the template places. Invariants: autoescape is on, so specs, documents and answers
are text whatever they contain; a content security policy in the page forbids scripts and loading on top of that; the same report gives
the same bytes. Cost: importing Jinja2, then some ten milliseconds.
"""

import re
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from msm.report import dots, figures, measures, words
from msm.report.asked import AnswerSample, Health, ItemSet
from msm.report.model import Report

FILTERS = ("count", "decimal", "duration", "joined", "measured", "moment", "percent", "points", "short", "signed", "size")
CHAT_RATES = ("ended", "repeated", "leaked", "empty")
TITLES = {
    "unfinished": "Not finished",
    "stale": "Stale stage",
    "few-updates": "Few updates",
    "broken-chat": "Broken chat format",
    "shared-words": "Shortcut items",
    "only-shared-words": "Words rather than values",
    "no-control": "No control",
    "one-seed": "No repetition",
    "unscored": "Unscored answers",
    "unpinned": "Not pinned",
}
"""Kind of caution -> what stands before it."""


def render(report: Report) -> str:
    """The page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("msm.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {name: getattr(words, name) for name in FILTERS}
    environment.globals |= {
        "chat_rates": CHAT_RATES,
        "parts": words.parts,
        "estimate": words.estimate,
        "interval": words.interval,
        "swatch": dots.swatch,
    }
    return environment.get_template("report.html.j2").render(_context(report))


def _context(report: Report) -> dict[str, Any]:
    style = files("msm.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    return {
        "r": report,
        "style": Markup(style),
        "titles": TITLES,
        "sets": figures.sets_of(report),
        "effects": figures.effect_figures(report),
        "scores": figures.score_figures(report),
        "curves": figures.training_curves(report),
        "found": [_clause(text) for text in report.sentence.split("; ")],
        "said": _answer_groups(report),
        "chats": _chat_rows(report),
        "kept": {corpus.name: figures.document_bars(corpus) for corpus in report.corpora},
        "measures": measures.MEASURES,
        "covered": {corpus.name: measures.matrix(corpus.coverage) for corpus in report.corpora if corpus.coverage is not None},
        "genres": {corpus.name: figures.genre_bars(corpus) for corpus in report.corpora if len(corpus.genres) > 1},
        "time": figures.time_bars(report),
        "totals": _totals(report),
        "promises": {(group.eval, group.value, group.set): _promise(group) for group in report.sets},
        "stage_names": {stage.fingerprint: stage.name for stage in report.stages},
    }


def _clause(text: str) -> str:
    """A part of the sentence, its minus signs as all numbers of the page have them."""
    return re.sub(r"(?<=[( ])-(?=\d)", words.MINUS, text)


def _answer_groups(report: Report) -> list[tuple[str, str, list[AnswerSample]]]:
    """(value, set, samples), in the order of the sets of items."""
    groups: dict[tuple[str, str], list[AnswerSample]] = {}
    for sample in report.answers:
        groups.setdefault((sample.value, sample.set), []).append(sample)
    order = figures.sets_of(report)
    return [(value, set_, groups[value, set_]) for value, set_ in sorted(groups, key=lambda group: (group[0], order.index(group[1])))]


def _chat_rows(report: Report) -> list[tuple[str, str, int, list[str]]]:
    """(eval, arm, seeds, shares): a row for each arm, over its seeds."""
    found: dict[tuple[str, str], list[Health]] = {}
    for health in report.health:
        found.setdefault((health.eval, health.arm), []).append(health)
    return [
        (name, arm, len(of), [words.span([getattr(one, rate) for one in of]) for rate in CHAT_RATES]) for (name, arm), of in found.items()
    ]


def _totals(report: Report) -> dict[str, Any]:
    done = [stage for stage in report.stages if stage.state == "done"]
    return {
        "stages": len(report.stages),
        "reused": sum(stage.reused for stage in report.stages),
        "seconds": sum(stage.seconds or 0.0 for stage in done),
        "models": len(report.versions),
        "items": len(report.items),
        "mixed": [name for name, versions in report.software.items() if len(versions) > 1],
    }


def _promise(group: ItemSet) -> str:
    """What a legend says of a set: how many of its items share a content word with the training texts."""
    if group.shared is None:
        return ""
    if not group.shared:
        return "no content word shared with any training text"
    return f"{group.shared} of {group.items} items share content words with training texts"
