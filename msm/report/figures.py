"""Which figures a report has, and what stands in each.

Pure. Neighbours: `model` is the input, `dots`, `curves` and `bars` draw, the template places. Invariant: values of one measure share an
axis over all figures of a kind, so that they can be compared by eye; every figure has a table that says the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from msm.report import bars, curves, dots, words
from msm.report.asked import Effect, Score
from msm.report.model import Report
from msm.report.parts import Corpus, Training

MEASURES = ("margin", "choice")


@dataclass(frozen=True, slots=True)
class Pair:
    """One figure in both layouts."""

    wide: Markup
    narrow: Markup


@dataclass(frozen=True, slots=True)
class ValueFigure:
    """The figure of one value in one eval, with its legend and the rows of its table."""

    eval: str
    value: str
    sets: tuple[str, ...]
    drawn: Pair
    rows: Sequence[Effect | Score]


@dataclass(frozen=True, slots=True)
class Curves:
    """The curves of one kind of training."""

    kind: str
    drawn: Sequence[tuple[str, Markup]]
    seeds: int


def effect_figures(report: Report) -> list[ValueFigure]:
    """Every value: each arm against each of its controls."""
    return [_figure(report, group, report.effects, "effect") for group in _groups(report.effects)]


def score_figures(report: Report) -> list[ValueFigure]:
    """Every value: the arms side by side."""
    return [_figure(report, group, report.scores, "score") for group in _groups(report.scores)]


def _groups(found: Sequence[Effect | Score]) -> list[tuple[str, str]]:
    return list(dict.fromkeys(words.parts(one.metric)[:2] for one in found))


def sets_of(report: Report) -> tuple[str, ...]:
    """The sets of items, in the order that gives each its colour and shape everywhere."""
    return tuple(dict.fromkeys(words.parts(one.metric)[2] for one in report.scores))


def _figure(report: Report, group: tuple[str, str], all_found: Sequence[Effect | Score], kind: str) -> ValueFigure:
    found = [one for one in all_found if words.parts(one.metric)[:2] == group]
    sets = sets_of(report)
    rows = [_row(label, found, sets) for label in dict.fromkeys(_label(one) for one in found)]
    measures = [measure for measure in MEASURES if any(words.parts(one.metric)[3] == measure for one in all_found)]
    panels = [_panel(measure, [one for one in all_found if words.parts(one.metric)[3] == measure], kind) for measure in measures]
    what = f"Effects on {group[1]}" if kind == "effect" else f"Arms on {group[1]}"
    drawn = dots.DotFigure(
        mark=f"{kind}-{group[0]}-{group[1]}",
        title=what,
        description=_described(rows, panels),
        panels=panels,
        rows=[dots.Row(row.label, row.note, row.cells[: len(panels)]) for row in rows],
        lanes=len(sets),
    )
    here = tuple(set_ for set_ in sets if any(words.parts(one.metric)[2] == set_ for one in found))
    return ValueFigure(group[0], group[1], here, Pair(dots.draw_wide(drawn), dots.draw_narrow(drawn)), found)


def _label(one: Effect | Score) -> tuple[str, str]:
    return (one.arm, f"against {one.versus}") if isinstance(one, Effect) else (one.arm, "")


def _row(label: tuple[str, str], found: Sequence[Effect | Score], sets: Sequence[str]) -> dots.Row:
    mine = [one for one in found if _label(one) == label]
    return dots.Row(label[0], label[1], [[*_marks(mine, measure, sets)] for measure in MEASURES])


def _marks(found: Sequence[Effect | Score], measure: str, sets: Sequence[str]) -> Iterator[dots.Mark]:
    for one in found:
        _, _, set_, measured = words.parts(one.metric)
        value = one.estimate if isinstance(one, Effect) else one.mean
        if measured == measure and value is not None:
            is_difference = isinstance(one, Effect)
            said = f"{words.estimate(value, measure, is_difference)} {words.interval(one.low, one.high, measure, is_difference)}"
            seeds = [seed.value for seed in one.by_seed] if len(one.by_seed) > 1 else []
            yield dots.Mark(sets.index(set_), value, one.low, one.high, seeds, said, not isinstance(one, Effect) or one.sign != 0)


def _panel(measure: str, found: Sequence[Effect | Score], kind: str) -> dots.Panel:
    is_difference = kind == "effect"
    reference = 0.5 if measure == "choice" and not is_difference else 0.0
    marks = list(_marks(found, measure, list(dict.fromkeys(words.parts(one.metric)[2] for one in found))))
    if measure == "margin":
        low, high = dots.panel_range(marks, reference)
        return dots.Panel("margin difference, nats" if is_difference else "margin, nats", low, high, reference, words.decimal_tick)
    if is_difference:
        low, high = dots.panel_range(marks, reference)
        return dots.Panel("choice difference, points", max(-1.0, low), min(1.0, high), reference, lambda x: words.points(x))
    return dots.Panel("chooses the value", 0.0, 1.0, reference, words.percent)


def _described(rows: Sequence[dots.Row], panels: Sequence[dots.Panel]) -> str:
    """The figure in words: each row with its numbers."""
    said = []
    for row in rows:
        cells = [f"{panel.title} {', '.join(mark.said for mark in cell)}" for panel, cell in zip(panels, row.cells, strict=False) if cell]
        said.append(f"{row.label} {row.note}: {'; '.join(cells)}".replace(" :", ":"))
    return ". ".join(said)


def training_curves(report: Report) -> list[Curves]:
    """Midtraining and fine-tuning, a drawing for each group of trainings that differ by seed alone."""
    found = []
    for kind in ("midtrain", "finetune"):
        groups: dict[str, list[Training]] = {}
        for training in report.trainings:
            if training.kind == kind and training.points:
                groups.setdefault(training.group, []).append(training)
        if groups:
            found.append(_curves(kind, groups))
    return found


def _curves(kind: str, groups: dict[str, list[Training]]) -> Curves:
    trainings = [training for group in groups.values() for training in group]
    tops = [max(p.loss for p in curves.smoothed(t.points)) for t in trainings]
    ranges = (max(t.points[-1].update for t in trainings), max(tops) * 1.05)
    drawn = [(name, curves.draw(name, group, f"curve-{kind}-{number}", ranges)) for number, (name, group) in enumerate(groups.items())]
    return Curves(kind, drawn, max(len(group) for group in groups.values()))


def document_bars(corpus: Corpus) -> Markup:
    """What became of the documents that were written."""
    kept = bars.Bar("kept", corpus.documents, words.count(corpus.documents))
    dropped = [bars.Bar(reason, n, words.count(n), is_main=False) for reason, n in corpus.dropped.items()]
    return bars.draw(f"What became of {corpus.written} documents of {corpus.name}", [kept, *dropped], f"kept-{corpus.name}")


def genre_bars(corpus: Corpus) -> Markup:
    """The genres, by tokens."""
    genres = sorted(corpus.genres, key=lambda genre: (-genre.tokens, genre.name))[:16]
    found = [bars.Bar(genre.name, genre.tokens, f"{words.count(genre.tokens)} tokens") for genre in genres]
    return bars.draw(f"Genres of {corpus.name}, by tokens", found, f"genres-{corpus.name}")


def time_bars(report: Report) -> Markup:
    """Where the time of the stages went, by kind."""
    spent: dict[str, float] = {}
    for stage in report.stages:
        if stage.seconds is not None:
            spent[stage.kind] = spent.get(stage.kind, 0.0) + stage.seconds
    found = [bars.Bar(kind, seconds, words.duration(seconds)) for kind, seconds in spent.items()]
    return bars.draw("Time of the stages, by kind", found, "time")
