"""evaluate: every arm of a seed on one eval's items, in one process, or through a server of the arms; or one that a deployment serves.

Writes `scores.jsonl` (a line for each model and item, models labelled by fingerprint), `health.json` and `summary.json`. Served: with
`params.via` "endpoint", address and model names in `execution.endpoint`; suite "smoke" asks everyday questions and needs no items.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from msm.evals.artifact import write_artifact
from msm.evals.endpoint import check_smoke, score_served
from msm.evals.items import parse_items
from msm.evals.preference import evaluate_models
from msm.evals.scores import ModelScores
from msm.evals.served import ServedModel, http_post
from msm.evals.settings import ModelRef, PreferenceSettings
from msm.plan.kinds import FETCH
from msm.stages.context import Context, Result
from msm.stages.params import mapping, optional_integer, text

SMOKE: Final = "smoke"
"""Suite of a served model: does it answer at all."""
_WEIGHTS: Final = (".safetensors", ".gguf", ".bin")
"""What of a model is not needed to make tokens."""


def run(context: Context) -> Result:
    """Score the arms."""
    params = context.params
    if params.get("via") == "endpoint":
        return _ask_served(context)
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


def _ask_served(context: Context) -> Result:
    """Score the arms that are served, one after the other."""
    settings, smoke = _settings(context), text(context.params, "suite") == SMOKE
    ask = check_smoke if smoke else _scorer(context)
    found = {fingerprint: ask(model, settings) for fingerprint, model in _served_models(context).items()}
    write_artifact(context.out, found)
    speeds = [scores.items_per_second for scores in found.values()]
    return Result({"models": len(found), "items": len(next(iter(found.values())).items), "itemsPerSecond": sum(speeds) / len(speeds)})


def _scorer(context: Context) -> Callable[[ServedModel, PreferenceSettings], ModelScores]:
    from msm.evals.models import load_tokenizer

    (base,) = context.manifests("model")
    (directory,) = context.paths("model", only=[name for name in base.files if not name.endswith(_WEIGHTS)])
    items = parse_items(context.blob(text(context.params, "items")).decode("utf-8"), "items")
    tokenizer, clock = load_tokenizer(directory), context.attempt.clock
    return lambda model, settings: score_served(model, tokenizer, items, settings, _progress(context), clock)


def _served_models(context: Context) -> dict[str, ServedModel]:
    """Every arm by its fingerprint, by the name that the server has for it; a server of one arm says that name alone."""
    endpoint = mapping(context.stage.execution, "endpoint")
    arms, post = context.manifests("arms"), http_post(text(endpoint, "baseURL"))
    if "model" in endpoint:
        (arm,) = arms
        return {arm.fingerprint: ServedModel(post, text(endpoint, "model"))}
    names = mapping(endpoint, "models")
    return {arm.fingerprint: ServedModel(post, text(names, arm.fingerprint)) for arm in arms}


def _settings(context: Context) -> PreferenceSettings:
    return PreferenceSettings(limit=optional_integer(context.params, "limit"), generate=optional_integer(context.params, "generate"))


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
