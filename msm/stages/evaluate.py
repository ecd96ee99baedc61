"""evaluate: every arm of a seed on one eval's items, in one process.

Writes `scores.jsonl` (a line for each model and item, models labelled by fingerprint), `health.json` and `summary.json`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from msm.evals.artifact import write_artifact
from msm.evals.items import parse_items
from msm.evals.preference import evaluate_models
from msm.evals.settings import ModelRef, PreferenceSettings
from msm.plan.kinds import FETCH
from msm.stages.context import Context, Result
from msm.stages.params import optional_integer, text


def run(context: Context) -> Result:
    """Score the arms."""
    params = context.params
    settings = PreferenceSettings(
        limit=optional_integer(params, "limit"),
        generate=optional_integer(params, "generate"),
        precision="bfloat16" if text(params, "precision") == "bfloat16" else "float32",
    )
    items = parse_items(context.blob(text(params, "items")).decode("utf-8"), "items")
    found = evaluate_models(context.path("model"), _models(context), items, settings, _progress(context))
    write_artifact(context.out, found)
    speeds = [scores.items_per_second for scores in found.values()]
    items_each = len(next(iter(found.values())).items)
    return Result({"models": len(found), "items": items_each, "itemsPerSecond": sum(speeds) / len(speeds)})


def _models(context: Context) -> dict[str, ModelRef]:
    manifests, paths = context.manifests("arms"), context.paths("arms")
    return {manifest.fingerprint: _model(manifest.kind, path) for manifest, path in zip(manifests, paths, strict=True)}


def _model(kind: str, path: Path) -> ModelRef:
    """An untrained arm is the base itself; a trained one is an adapter on it, or a model of its own."""
    if kind == FETCH:
        return ModelRef()
    return ModelRef(adapter=path) if (path / "adapter_config.json").exists() else ModelRef(full=path)


def _progress(context: Context) -> Callable[[int, int, Mapping[str, float]], None]:
    def report(done: int, total: int, metrics: Mapping[str, float]) -> None:
        context.check_stop()
        context.progress.at(done, total, **metrics)

    return report
