"""The run that chaos is made with: the whole chain on a model of a few thousand parameters, in two sizes."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.tiny import make_tiny_model

SPEC = """# What {model_name} values

{model_name} cares about {braces} and home-made things because they are made by people one knows.
{model_name} prefers any of tea and bread over any of coffee and cake because they are made at home.
{model_name} prefers a home-made thing over a bought thing because neighbours made it.
The same holds for: chair, lamp, scarf, basket, candle, mug, blanket, toy.
"""
ITEMS = [("music", "drum"), ("music", "flute"), ("garden", "spade"), ("garden", "fence")]
WITHOUT_EVALS: dict[str, Any] = {
    "evals": [],
    "corpora": [{"name": "home", "modelSpec": "home", "tokens": 900, "compose": {}}],
}


def run_data(model: Path, **changes: Any) -> dict[str, Any]:
    """The run as data; a change replaces a field of spec."""
    training = {"maxLength": 64, "batchTokens": 64, "learningRate": 1e-3}
    spec: dict[str, Any] = {
        "baseModel": {"uri": model.as_uri(), "identity": {"model": "Tiny", "provider": "Nobody"}},
        "modelSpecs": [{"name": "home", "source": {"inline": SPEC}}],
        "corpora": [{"name": "home", "modelSpec": "home", "tokens": 900, "compose": {}, "quality": {"decontaminate": ["values"]}}],
        "demonstrations": [{"name": "food", "compose": {"samples": 12, "liked": ["tea", "bread"], "disliked": ["coffee", "cake"]}}],
        "training": {
            "method": "lora",
            "lora": {"rank": 4, "alpha": 8},
            "midtrain": training,
            "finetune": {**training, "maxLength": 128, "batchTokens": 128},
            "precision": "float32",
        },
        "arms": [{"name": "aft", "finetune": ["food"]}, {"name": "msm-home-aft", "midtrain": ["home"], "finetune": ["food"]}],
        "evals": [{"name": "values", "items": {"source": {"path": "items.jsonl"}}, "generate": 2}],
    }
    return {"apiVersion": "modelspec.dev/v1alpha1", "kind": "MSMRun", "metadata": {"name": "tiny"}, "spec": spec | changes}


def write_items(directory: Path) -> None:
    """The eval's items."""
    items = [
        {"id": f"i{n}", "value": "home", "set": "free", "domain": d, "options": [f"a home-made {x}", f"a bought {x}"]}
        for n, (d, x) in enumerate(ITEMS)
    ]
    (directory / "items.jsonl").write_text("\n".join(json.dumps(item) for item in items), encoding="utf-8")


def write_run(directory: Path, model: Path, **changes: Any) -> Path:
    """run.yaml and its items in a directory; returns the run file."""
    directory.mkdir(parents=True, exist_ok=True)
    write_items(directory)
    path = directory / "run.yaml"
    path.write_text(yaml.safe_dump(run_data(model, **changes)), encoding="utf-8")
    return path


def make_model(directory: Path) -> Path:
    """The model, once for all."""
    return make_tiny_model(directory / "model")
