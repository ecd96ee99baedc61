"""`msm validate` and `msm preview`: look at a run before anything is spent.

Neighbours: `msm.api` validates, `msm.local.accept` plans, `msm.preview` counts. Invariant: nothing of the run is kept or executed.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msm.cli.screen import Screen
from msm.cli.words import clean, duration, gibibytes, number, share, some

if TYPE_CHECKING:
    from rich.console import RenderableType

    from msm.preview.report import Forecast, StageForecast


def validate(file: Path, screen: Screen) -> None:
    """Check a run file and every reference in it; UserError names the first mistake."""
    from msm.api import load_run

    run = load_run(file)
    spec = run.spec
    if screen.as_json:
        counts = {"arms": len(spec.arms), "seeds": len(spec.seeds), "evals": len(spec.evals)}
        screen.document({"valid": True, "run": run.metadata.name, **counts})
        return
    parts = (some(spec.arms, "arm", "arms"), some(spec.seeds, "seed", "seeds"), some(spec.evals, "eval", "evals"))
    screen.say(f"{file}: valid; {run.metadata.name} compares {', '.join(parts)}")


def preview(file: Path, screen: Screen, environ: Mapping[str, str], directory: Path) -> None:
    """Plan a run, count it and time it."""
    from msm.local.previewing import look_at
    from msm.preview.forecast import forecast
    from msm.preview.shape import shape_of

    looked = look_at(file, environ, directory)
    planned = looked.planned
    model = shape_of(planned.plan.resolution.inputs["baseModel"], looked.clients)
    found = forecast(planned.run, planned.uid, planned.plan, planned.store, file.parent, model)
    if screen.as_json:
        screen.document(found.model_dump(mode="json", by_alias=True))
        return
    screen.show(*forecast_tables(found))
    for warning in found.warnings:
        screen.warn(f"warning: {clean(warning)}")


def forecast_tables(found: "Forecast") -> list["RenderableType"]:
    """The stages, the sums, what the numbers assume."""
    from rich.text import Text

    from msm.cli.tables import heading, table

    columns = ("stage", "state", "rows", "tokens", "updates", "full", "time", "counts")
    made = table(columns, map(_forecast_row, found.stages), left=2)
    made.columns[-1].justify = "left"
    return [
        heading(f"{found.uid}, {found.precision}"),
        made,
        Text(),
        *(Text(line) for line in _sums(found)),
        *(Text(clean(line), style="dim") for line in found.assumptions),
    ]


def _forecast_row(stage: "StageForecast") -> Sequence[str]:
    return (
        stage.name,
        "re-used" if stage.state == "committed" else stage.state,
        "" if stage.rows is None else number(stage.rows),
        "" if stage.tokens is None else number(stage.tokens),
        "" if stage.updates is None else number(stage.updates),
        "" if stage.fill is None else share(stage.fill),
        "" if stage.seconds is None else f"~{duration(stage.seconds)}",
        stage.basis,
    )


def _sums(found: "Forecast") -> Iterator[str]:
    sums = found.totals
    yield f"{sums.stages} stages: {sums.committed} re-used, {sums.to_run} to run"
    unknown = [s for s in found.stages if s.state == "to run" and s.seconds is None]
    if machines := _machines(found.stages):
        yield from machines
    more = f" and {some(unknown, 'stage', 'stages')} of unknown length" if unknown else ""
    yield f"to train: {number(sums.tokens)} tokens, {number(sums.updates)} updates; about {duration(sums.seconds)}{more}"
    if sums.gpu_hours:
        yield f"about {number(round(sums.gpu_hours))} GPU-hours, those of the models that it asks among them"
    yield f"{sums.calls} calls to paid endpoints, price {sums.price:.2f}; nothing was run or spent"


def _machines(stages: Sequence["StageForecast"]) -> list[str]:
    """What each kind of training needs of GPUs and hosts, at most."""
    kinds = dict.fromkeys(s.kind for s in stages if s.gpus)
    widest = [max((s for s in stages if s.kind == kind and s.gpus), key=lambda s: s.gpu_memory or 0) for kind in kinds]
    return [f"{stage.kind}: {_needs(stage)}" for stage in widest]


def _needs(stage: "StageForecast") -> str:
    on = some(range(stage.gpus or 0), "GPU", "GPUs")
    if stage.gpu_memory is None or stage.host_memory is None:
        return f"{on}; their memory is not known before the base model is fetched"
    each = " each" if stage.gpus != 1 else ""
    return f"{on} with {gibibytes(stage.gpu_memory)}{each} in use, and {gibibytes(stage.host_memory)} of the machine's memory"
