"""Results as rich tables and as the JSON document that `msm results --json` prints.

Pure; imports rich only in the functions that make tables. Neighbours: `results` and `run` print them. Invariant: the document's keys are
API: {"run", "effects", "stages"} and beside them "arms", "sentence", "warnings".
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msm.cli.words import clean, decimal, share, signed, some
from msm.results.rows import ArmRow, EffectRow, Results

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def results_document(results: Results) -> dict[str, Any]:
    """The JSON document."""
    return results.model_dump(mode="json", by_alias=True)


def result_tables(results: Results, width: int) -> list["RenderableType"]:
    """Everything for people: arms side by side, effects with intervals, the sentence, the warnings."""
    from rich.text import Text

    from msm.cli.tables import heading

    shown: list[RenderableType] = []
    if results.arms:
        evals = ", ".join(dict.fromkeys(row.metric.partition(".")[0] for row in results.arms))
        what = heading(f"{evals}: margin ± standard error in nats, share of answers that choose the value")
        shown += [what, arm_table(results.arms, width), Text()]
    if results.effects:
        shown += [heading("effects, in the metric's unit"), effect_table(results.effects, width), Text()]
    if results.sentence:
        shown.append(Text(clean(results.sentence)))
    shown += [Text(f"warning: {clean(warning)}", style="yellow") for warning in results.warnings]
    return shown


def shortened(rows: Sequence[ArmRow]) -> Sequence[ArmRow]:
    """The same rows without the eval's name, where all metrics are of one eval."""
    if len({row.metric.partition(".")[0] for row in rows}) > 1:
        return rows
    return [row.model_copy(update={"metric": row.metric.partition(".")[2] or row.metric}) for row in rows]


def arm_table(rows: Sequence[ArmRow], width: int) -> "Table":
    """Margins and choices: one column a metric where they fit, else one line an arm and metric."""
    from msm.cli.tables import fits, table

    rows = shortened(rows)
    columns, body = _side_by_side(rows)
    if fits(columns, body, width):
        return table(columns, body)
    columns, body = _one_below_another(rows)
    return table(columns, body, left=2)


Cells = tuple[Sequence[str], list[Sequence[str]]]
"""Column names and rows."""


def _side_by_side(rows: Sequence[ArmRow]) -> Cells:
    metrics = list(dict.fromkeys(row.metric for row in rows))
    cells = {(row.arm, row.metric): f"{_margin(row)}, {share(row.choice)}" for row in rows}
    arms = dict.fromkeys(row.arm for row in rows)
    return ("arm", *metrics), [(arm, *(cells.get((arm, metric), "") for metric in metrics)) for arm in arms]


def _one_below_another(rows: Sequence[ArmRow]) -> Cells:
    body = [(row.arm, row.metric, _margin(row), share(row.choice), f"{row.unscored} of {row.items}") for row in rows]
    return ("arm", "metric", "margin ± s.e.", "choice", "unscored"), list(body)


def _margin(row: ArmRow) -> str:
    error = "" if row.standard_error is None else f" ± {decimal(row.standard_error)}"
    return f"{decimal(row.mean)}{error}"


def effect_table(rows: Sequence[EffectRow], width: int) -> "RenderableType":
    """Differences between arms with their intervals; two lines each where a table does not fit."""
    from rich.text import Text

    from msm.cli.tables import fits, table

    columns = ("metric", "arm", "versus", "effect", "interval", "rests on", "")
    body = [_effect_row(row) for row in rows]
    if not fits(columns, body, width):
        return Text("\n".join(f"{arm} against {versus} on {metric}:\n  {', '.join(rest)}" for metric, arm, versus, *rest in body))
    made = table(columns, body, left=3)
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
