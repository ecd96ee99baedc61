"""`msm compare A B`: two runs side by side.

Neighbours: `msm.results.compare` finds, this prints. Invariant: reads only; B minus A everywhere.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msm.cli.screen import Screen
from msm.cli.words import NOTHING, clean, signed
from msm.local.records import find_run
from msm.results.comparison import Beside, Comparison, Difference, Estimate, Paired

if TYPE_CHECKING:
    from rich.console import RenderableType

    from msm.results.survey import Survey

LONGEST = 60
"""Characters of a value in the table of differences."""


def compare(a: str, b: str, screen: Screen, environ: Mapping[str, str], directory: Path) -> None:
    """Compare two runs that command lines mean."""
    from msm.results.compare import compare_runs

    found = compare_runs(*_surveyed(a, environ, directory), *_surveyed(b, environ, directory))
    if screen.as_json:
        screen.document(found.model_dump(mode="json", by_alias=True))
        return
    screen.say(f"A  {clean(found.a)}")
    screen.say(f"B  {clean(found.b)}")
    screen.say(f"stages: {found.shared_stages} in both, {len(found.stages_of_a)} in A alone, {len(found.stages_of_b)} in B alone")
    for note in found.notes:
        screen.say(f"note: {clean(note)}")
    screen.show(*comparison_tables(found, screen.console().width))


def _surveyed(target: str, environ: Mapping[str, str], directory: Path) -> "tuple[Survey, str]":
    from msm.cli.reporting import plan_of
    from msm.results.survey import survey

    store, uid, space, run = find_run(target, environ, directory)
    return survey(run, plan_of(store, uid, target), store, space.cache), uid


def comparison_tables(found: Comparison, width: int) -> "list[RenderableType]":
    """What differs, effects side by side, arms side by side, paired differences."""
    from rich.text import Text

    from msm.cli.tables import heading

    shown: list[RenderableType] = [Text()]
    if found.differences:
        shown += [heading("what differs"), _fitted(("field", "A", "B"), list(map(_difference, found.differences)), 3, width), Text()]
    if found.effects:
        columns: Sequence[str] = ("metric", "arm", "versus", "A", "B", "B minus A", "")
        shown += [heading("effects side by side"), _fitted(columns, _rows(found.effects, found.paired), 3, width), Text()]
    if found.scores:
        columns = ("metric", "arm", "A", "B", "B minus A", "")
        body: list[Sequence[str]] = [(metric, arm, *rest) for metric, arm, _, *rest in _rows(found.scores, found.paired)]
        shown += [heading("arms side by side"), _fitted(columns, body, 2, width)]
    return shown


def _fitted(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int, width: int) -> "RenderableType":
    """A table where it fits; else two lines a row, what it is and what it says."""
    from rich.text import Text

    from msm.cli.tables import fits, table

    if fits(columns, rows, width):
        return table(columns, rows, left=left)
    names = 1 if left == len(columns) else left
    return Text("\n".join(f"{' '.join(map(clean, row[:names]))}\n  {_said(columns[names:], row[names:])}" for row in rows))


def _said(columns: Sequence[str], cells: Sequence[str]) -> str:
    return "  ".join(f"{column} {clean(cell)}".strip() for column, cell in zip(columns, cells, strict=True) if cell)


def _difference(row: Difference) -> Sequence[str]:
    return row.field, *(NOTHING if side is None else _cut(side) for side in (row.a, row.b))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _rows(rows: Sequence[Beside], paired: Sequence[Paired]) -> list[Sequence[str]]:
    differences = {(p.metric, p.arm, p.versus): p for p in paired}
    return [_row(row, differences.get((row.metric, row.arm, row.versus))) for row in rows]


def _row(row: Beside, paired: Paired | None) -> Sequence[str]:
    difference, verdict = ("", "") if paired is None else (_interval(paired.estimate, paired.low, paired.high), _verdict(paired))
    return row.metric, row.arm, row.versus, _estimate(row.a), _estimate(row.b), difference, verdict


def _estimate(estimate: Estimate | None) -> str:
    return NOTHING if estimate is None or estimate.value is None else _interval(estimate.value, estimate.low, estimate.high)


def _interval(value: float, low: float | None, high: float | None) -> str:
    return signed(value) if low is None or high is None else f"{signed(value)} [{signed(low)}, {signed(high)}]"


def _verdict(paired: Paired) -> str:
    return "excludes 0" if paired.sign else "may be 0"
