"""Statuses, results, forecasts and models as rich tables.

Pure: values in, renderables out; imports rich, so it is itself imported at use. Neighbours: the commands hand the result to `Screen.show`.
Invariant: every text is a `Text`, never markup.
"""

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from msm.cli.words import clean, decimal, duration
from msm.local.status import StageStatus, State

MARKS = {
    State.PENDING: ("·", "dim"),
    State.RUNNING: ("▶", "cyan"),
    State.FOLLOWING: ("»", "cyan"),
    State.WAITING: ("…", "yellow"),
    State.DONE: ("✓", "green"),
    State.FAILED: ("✗", "red"),
    State.BLOCKED: ("✗", "dim"),
    State.NOT_NEEDED: ("✓", "dim"),
}
"""State -> mark and its style."""


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], left: int = 1) -> Table:
    """A table without lines; the first `left` columns are text, the others numbers."""
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for place, column in enumerate(columns):
        made.add_column(column, justify="left" if place < left else "right", no_wrap=place >= left, overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(clean(cell)) for cell in row))
    return made


def fits(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether a table of these cells needs no more than `width` columns."""
    return sum(max(map(len, cells)) + 2 for cells in zip(columns, *rows, strict=True)) - 2 <= width


def heading(text: str) -> Text:
    """What stands over a table; may be wider than it."""
    return Text(clean(text), style="bold")


def stage_table(stages: Sequence[StageStatus]) -> Table:
    """The stages of a run: mark, name, progress, measurements, times."""
    columns = ("", "stage", "%", "step", "loss", "tokens/s", "ETA", "time", "")
    made = table(columns, map(_stage_row, stages), left=2)
    made.columns[-1].justify = "left"
    return made


def _stage_row(stage: StageStatus) -> Sequence[str | Text]:
    mark, style = MARKS[stage.state]
    at_work = stage.state in (State.RUNNING, State.FOLLOWING)
    return (
        Text(mark, style=style),
        stage.name,
        f"{stage.percentage:.0f}" if at_work else "",
        f"{stage.step}/{stage.total_steps}" if at_work and stage.total_steps else "",
        decimal(stage.metrics.get("loss")) if "loss" in stage.metrics else "",
        decimal(stage.metrics.get("tokensPerSecond"), 0) if "tokensPerSecond" in stage.metrics else "",
        duration(stage.remaining_seconds) if at_work and stage.remaining_seconds is not None else "",
        duration(stage.seconds) if stage.seconds else "",
        Text(_remark(stage), style="dim"),
    )


def _remark(stage: StageStatus) -> str:
    if stage.state is State.DONE:
        return "" if stage.attempts else "re-used"
    if stage.state in (State.PENDING, State.RUNNING):
        return ""
    return stage.state.value
