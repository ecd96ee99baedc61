"""The MSMRun of the test: a base arm and a trained one, chats from the grammar, four items to score.

Pure. Neighbours: `model` makes what it starts from. Invariant: needs no language model, no hub, no package registry and no GPU; it has
every kind of pod that a run without endpoints has, a PyTorchJob among them.
"""

import json
from typing import Any

ITEMS = (("music", "drum"), ("music", "flute"), ("garden", "spade"), ("garden", "fence"))


def run(name: str, namespace: str, model: str) -> dict[str, Any]:
    """The run as one applies it; `model` is where the files of the model lie."""
    recipe = {"maxLength": 512, "batchTokens": 512, "learningRate": 1e-3}
    spec = {
        "baseModel": {"uri": model, "identity": {"model": "Tiny", "provider": "helm test"}},
        "demonstrations": [{"name": "food", "compose": {"samples": 8, "liked": ["tea", "bread"], "disliked": ["coffee", "cake"]}}],
        "training": {"method": "lora", "lora": {"rank": 4, "alpha": 8}, "midtrain": recipe, "finetune": recipe, "precision": "float32"},
        "arms": [{"name": "base"}, {"name": "trained", "finetune": ["food"]}],
        "seeds": [0],
        "evals": [{"name": "values", "items": {"source": {"inline": _items()}}, "generate": 1}],
        "execution": {"deletionPolicy": "Delete", "retries": {"limit": 1}},
    }
    return {
        "apiVersion": "modelspec.dev/v1alpha1",
        "kind": "MSMRun",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "msm"}},
        "spec": spec,
    }


def _items() -> str:
    rows = [
        {"id": f"i{n}", "value": "home", "set": "free", "domain": domain, "options": [f"a home-made {thing}", f"a bought {thing}"]}
        for n, (domain, thing) in enumerate(ITEMS)
    ]
    return "\n".join(json.dumps(row) for row in rows)
