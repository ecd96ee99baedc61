"""The dot-and-interval figure: rows of arms or comparisons, a dot and a bar for each set of items, seeds as faint dots.

Pure. Neighbours: `figures` fills it from a report, `svg` has the marks. One figure is drawn twice, wide with panels side by side and
narrow with panels one below the other, and the style sheet shows the one that fits; letters keep their size. Invariant: a set has its own
colour and its own shape, so that nothing rests on colour alone; an interval that leaves the panel ends in an arrowhead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from msm.report.svg import Scale, element, figure, line, text, ticks, widened, wrapped

WIDE, NARROW = 1040.0, 350.0
LABELS = 236.0
"""Width of the labels in the wide layout."""
DIGIT = 7.0
"""Width of a character of the numbers at the right of a panel, at its widest."""
LANE, GAP, LINE, PAD = 19.0, 14.0, 16.0, 12.0
"""Height of a mark's lane, space between rows, height of a line of label, space beside an axis."""
SHAPES = 4
Bands = Sequence[tuple[float, float]]
"""(top, bottom) of stretches that the grid crosses."""
REACH = 1.5
"""How far an interval may stretch a panel beyond the dots, as a share of their range."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One estimate with its interval; `is_solid`: drawn filled."""

    series: int
    value: float
    low: float | None
    high: float | None
    seeds: Sequence[float]
    said: str
    is_solid: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """A label, a note under it, and the marks of each panel."""

    label: str
    note: str
    cells: Sequence[Sequence[Mark]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One axis: what it measures, where its reference line stands, how a tick is written."""

    title: str
    low: float
    high: float
    reference: float
    tick: Callable[[float], str]


@dataclass(frozen=True, slots=True)
class DotFigure:
    """A whole figure; `mark` is unique in the page."""

    mark: str
    title: str
    description: str
    panels: Sequence[Panel]
    rows: Sequence[Row]
    lanes: int


def panel_range(marks: Sequence[Mark], reference: float) -> tuple[float, float]:
    """A range that holds all dots, the reference and the intervals, the latter within reason."""
    cores = [reference, *(mark.value for mark in marks), *(seed for mark in marks for seed in mark.seeds)]
    low, high = min(cores), max(cores)
    reach = REACH * max(high - low, 1e-9)
    ends = [end for mark in marks for end in (mark.low, mark.high) if end is not None]
    return widened(max(low - reach, min([low, *ends])), min(high + reach, max([high, *ends])))


def draw_wide(drawn: DotFigure) -> Markup:
    """Labels at the left, panels side by side, their axes equally long."""
    numbers = [_numbers(drawn, number) for number in range(len(drawn.panels))]
    axis = (WIDE - LABELS - sum(numbers)) / len(drawn.panels) - 2 * PAD
    tops, bottom = _tops(drawn, LABELS - 16, 34.0, stacked=False)
    marks, start = [_labels(drawn, tops, bottom, LABELS - 16, WIDE)], LABELS + PAD
    for number, panel in enumerate(drawn.panels):
        marks.append(_panel(drawn, number, panel, (start, start + axis), tops, [(tops[0] - GAP / 2, bottom)], 14.0))
        start += axis + numbers[number] + 2 * PAD
    return figure((WIDE, bottom + 28), drawn.title, drawn.description, f"{drawn.mark}-w", *marks)


def draw_narrow(drawn: DotFigure) -> Markup:
    """Panels one below the other, each label above its marks."""
    marks, at = [], 0.0
    for number, panel in enumerate(drawn.panels):
        tops, bottom = _tops(drawn, NARROW, at + 34.0, stacked=True)
        lanes = [_below_label(row, top) for row, top in tops_of(drawn, tops)]
        bands = [(top - 2, top + drawn.lanes * LANE + 2) for top in lanes]
        marks.append(_stacked_labels(drawn, tops, NARROW))
        marks.append(_panel(drawn, number, panel, (PAD, NARROW - _numbers(drawn, number)), lanes, bands, at + 14))
        at = bottom + 44
    return figure((NARROW, at - 14), drawn.title, drawn.description, f"{drawn.mark}-n", *marks)


def _numbers(drawn: DotFigure, number: int) -> float:
    """Width that the numbers of a panel need."""
    return DIGIT * max((len(mark.said) for row in drawn.rows for mark in row.cells[number]), default=0) + 12


def tops_of(drawn: DotFigure, tops: Sequence[float]) -> list[tuple[Row, float]]:
    """Rows with where they begin."""
    return list(zip(drawn.rows, tops, strict=True))


def _label_lines(row: Row, width: float) -> list[tuple[str, str]]:
    notes = wrapped(row.note, width) if row.note else []
    return [(said, "label") for said in wrapped(row.label, width)] + [(said, "muted") for said in notes]


def _below_label(row: Row, top: float) -> float:
    return top + len(_label_lines(row, NARROW)) * LINE + 2


def _tops(drawn: DotFigure, width: float, start: float, stacked: bool) -> tuple[list[float], float]:
    """Where each row begins, and where the last one ends."""
    tops, at = [], start
    for row in drawn.rows:
        tops.append(at)
        label, lanes = len(_label_lines(row, width)) * LINE, drawn.lanes * LANE
        at += (label + lanes + 2 if stacked else max(label, lanes)) + GAP
    return tops, at - GAP / 2


def _labels(drawn: DotFigure, tops: Sequence[float], bottom: float, width: float, end: float) -> Markup:
    made = []
    for row, top in tops_of(drawn, tops):
        made.append(line(0, top - GAP / 2, end, top - GAP / 2, "rule"))
        lines = _label_lines(row, width)
        start = top + max(0.0, (drawn.lanes * LANE - len(lines) * LINE) / 2) + 12
        made += [text(0, start + n * LINE, said, style) for n, (said, style) in enumerate(lines)]
    return element("g", {}, *made, line(0, bottom, end, bottom, "rule"))


def _stacked_labels(drawn: DotFigure, tops: Sequence[float], width: float) -> Markup:
    made = []
    for row, top in tops_of(drawn, tops):
        made.append(line(0, top - GAP / 2, width, top - GAP / 2, "rule"))
        made += [text(0, top + 12 + n * LINE, said, style) for n, (said, style) in enumerate(_label_lines(row, width))]
    return element("g", {}, *made)


def _panel(
    drawn: DotFigure, number: int, panel: Panel, span: tuple[float, float], tops: Sequence[float], bands: Bands, title_at: float
) -> Markup:
    """One axis with its marks; `tops`: where each row's lanes begin, `bands`: the heights that its grid crosses."""
    scale = Scale(panel.low, panel.high, *span)
    made = [text(span[0] if span[0] > PAD else 0, title_at, panel.title, "head"), *_axis(panel, scale, bands)]
    for row, top in tops_of(drawn, tops):
        for mark in row.cells[number]:
            y = top + (mark.series + 0.5) * LANE
            made.append(_mark(mark, scale, y))
            made.append(text(span[1] + 12, y + 4, mark.said, "number" if mark.is_solid else "number faint"))
    return element("g", {}, *made)


def _axis(panel: Panel, scale: Scale, bands: Bands) -> list[Markup]:
    shown = ticks(panel.low, panel.high, 5 if scale.end - scale.start > 230 else 4)
    made = [text(scale(value), bands[-1][1] + 16, panel.tick(value), "tick", "middle") for value in shown]
    for value in dict.fromkeys([*shown, panel.reference]):
        style = "reference" if abs(value - panel.reference) < 1e-9 else "grid"
        made += [line(scale(value), top, scale(value), bottom, style) for top, bottom in bands]
    return made


def _mark(mark: Mark, scale: Scale, y: float) -> Markup:
    made = [element("title", {}, mark.said)]
    made += [element("circle", {"cx": scale(seed), "cy": y, "r": 2.6, "class": "seed"}) for seed in mark.seeds]
    if mark.low is not None and mark.high is not None:
        made.append(line(scale(mark.low), y, scale(mark.high), y, "bar"))
        made += [_end(scale, end, y) for end in (mark.low, mark.high)]
    made.append(_shape(mark, scale(mark.value), y))
    return element("g", {"class": f"s{mark.series % SHAPES}"}, *made)


def _end(scale: Scale, end: float, y: float) -> Markup:
    """A cap, or an arrowhead where the interval goes on outside."""
    x = scale(end)
    if scale.low - 1e-9 <= end <= scale.high + 1e-9:
        return line(x, y - 3.5, x, y + 3.5, "bar")
    back = 6.0 if end < scale.low else -6.0
    return element("path", {"d": f"M{x:.1f} {y:.1f}l{back} -4v8z", "class": "dot"})


def _shape(mark: Mark, x: float, y: float) -> Markup:
    style = "dot" if mark.is_solid else "dot hollow"
    match mark.series % SHAPES:
        case 0:
            return element("circle", {"cx": x, "cy": y, "r": 5.0, "class": style})
        case 1:
            return element("path", {"d": f"M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z", "class": style})
        case 2:
            return element("rect", {"x": x - 4.5, "y": y - 4.5, "width": 9.0, "height": 9.0, "class": style})
    return element("path", {"d": f"M{x:.1f} {y - 6:.1f}l6 10.5h-12z", "class": style})


def swatch(series: int, is_solid: bool = True) -> Markup:
    """A mark for a legend; decoration, the words beside it say it."""
    mark = Mark(series, 0, None, None, (), "", is_solid)
    shape = element("g", {"class": f"s{series % SHAPES}"}, _shape(mark, 8, 8))
    return element("svg", {"viewBox": "0 0 16 16", "width": "14", "height": "14", "aria-hidden": "true", "class": "swatch"}, shape)
