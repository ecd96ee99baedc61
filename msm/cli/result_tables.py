"""Results as rich tables and as the JSON document that `msm results --json` prints.

Pure; imports rich only in the functions that make tables. Neighbours: `results` and `run` print them. Invariant: the document's keys are
API: {"run", "effects", "stages"} and beside them "arms", "sentence", "warnings".
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msm.cli.words import clean, decimal, share, signed, some
from msm.local.results import ArmRow, EffectRow, Results

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

WIDE_COLUMN = 24
"""Columns that one metric takes when arms stand below each other."""


def results_document(results: Results) -> dict[str, Any]:
    """The JSON document."""
    return results.model_dump(mode="json", by_alias=True)


def result_tables(results: Results, width: int) -> list["RenderableType"]:
    """Everything for people: arms side by side, effects with intervals, the sentence, the warnings."""
    from rich.text import Text

    shown: list[RenderableType] = []
    if results.arms:
        shown += [arm_table(results.arms, width), Text()]
    if results.effects:
        shown += [effect_table(results.effects), Text()]
    if results.sentence:
        shown.append(Text(clean(results.sentence)))
    shown += [Text(f"warning: {clean(warning)}", style="yellow") for warning in results.warnings]
    return shown


def arm_table(rows: Sequence[ArmRow], width: int) -> "Table":
    """Margins and choices: one column a metric where they fit, else one line an arm and metric."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    longest = max(len(row.arm) for row in rows)
    if longest + 2 + WIDE_COLUMN * len(metrics) <= width:
        return _side_by_side(rows, metrics)
    return _one_below_another(rows)


def _side_by_side(rows: Sequence[ArmRow], metrics: Sequence[str]) -> "Table":
    from msm.cli.tables import table

    cells = {(row.arm, row.metric): _cell(row) for row in rows}
    arms = dict.fromkeys(row.arm for row in rows)
    body = [(arm, *(cells.get((arm, metric), "") for metric in metrics)) for arm in arms]
    return table(("arm", *metrics), body, title="margin ± standard error in nats, share of answers that choose the value")


def _one_below_another(rows: Sequence[ArmRow]) -> "Table":
    from msm.cli.tables import table

    body = [(row.arm, row.metric, _margin(row), share(row.choice), str(row.unscored), str(row.items)) for row in rows]
    columns = ("arm", "metric", "margin ± s.e.", "choice", "unscored", "items")
    return table(columns, body, left=2, title="margin in nats, share of answers that choose the value")


def _cell(row: ArmRow) -> str:
    return f"{_margin(row)}  {share(row.choice):>4}"


def _margin(row: ArmRow) -> str:
    error = "" if row.standard_error is None else f" ± {decimal(row.standard_error)}"
    return f"{decimal(row.mean)}{error}"


def effect_table(rows: Sequence[EffectRow]) -> "Table":
    """Differences between arms with their intervals."""
    from msm.cli.tables import table

    columns = ("metric", "arm", "versus", "effect", "interval", "rests on", "")
    made = table(columns, map(_effect_row, rows), left=3, title="effects")
    made.columns[-1].justify = "left"
    return made


def _effect_row(row: EffectRow) -> Sequence[str]:
    interval = f"[{signed(row.low)}, {signed(row.high)}] {row.confidence:.0%}"
    rests = f"{row.items} items, {some(range(row.seeds), 'seed', 'seeds')}"
    return row.metric, row.arm, row.versus, signed(row.estimate), interval, rests, verdict(row)


def verdict(row: EffectRow) -> str:
    """Whether the interval has zero in it."""
    if row.low > 0 or row.high < 0:
        return "excludes 0"
    return "may be 0"
