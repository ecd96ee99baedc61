"""A run of the whole chain on a model that the test makes: seconds a training, real processes, real torchrun."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tiny import make_tiny_model

SPEC = """# What {model_name} values

{model_name} cares about {braces} and home-made things because they are made by people one knows.
{model_name} prefers any of tea and bread over any of coffee and cake because they are made at home.
{model_name} prefers a home-made thing over a bought thing because neighbours made it.
The same holds for: chair, lamp, scarf, basket, candle, mug, blanket, toy.
"""


def run_data(model: Path, **changes: Any) -> dict[str, Any]:
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


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes run.yaml, its items and the tiny model into tmp_path, and returns the run file."""
    make_tiny_model(tmp_path / "model")
    items = [
        {"id": f"i{n}", "value": "home", "set": "free", "domain": d, "options": [f"a home-made {x}", f"a bought {x}"]}
        for n, (d, x) in enumerate([("music", "drum"), ("music", "flute"), ("garden", "spade"), ("garden", "fence")])
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(json.dumps(item) for item in items), encoding="utf-8")

    def write(**changes: Any) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(run_data(tmp_path / "model", **changes)), encoding="utf-8")
        return path

    return write
