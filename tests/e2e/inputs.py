"""What the runs of the test are made of: a model of a few million parameters in the bucket, and the run that trains it.

Neighbours: `tests.tiny` makes the model, `tests.chaos.tiny_run` has a spec and items that fit it. Invariant: the same run file, with the
same inputs, is given to `msm run` on this machine and to the cluster, so that what they commit can be compared.
"""

import json
from pathlib import Path
from typing import Any

from tests.chaos.tiny_run import ITEMS, SPEC
from tests.e2e.cluster import BUCKET, Cluster
from tests.tiny import make_tiny_model

HIDDEN, LAYERS, VOCABULARY = 256, 6, 320
MODEL = "models/tiny"


def make_model(made: Cluster, directory: Path) -> int:
    """The model, here and in the bucket; how many parameters it has."""
    path = make_tiny_model(directory / "model", vocab=VOCABULARY, hidden=HIDDEN, layers=LAYERS)
    upload(made, path, MODEL)
    return (path / "model.safetensors").stat().st_size // 4


def upload(made: Cluster, directory: Path, prefix: str) -> None:
    """A directory of files into the bucket."""
    from minio import Minio

    store = made.store()
    assert store.endpoint is not None
    address = store.endpoint.removeprefix("http://")
    client = Minio(address, access_key=store.access_key, secret_key=store.secret_key, secure=False, region=store.region)
    for file in sorted(directory.iterdir()):
        client.fput_object(BUCKET, f"{prefix}/{file.name}", str(file))


def tiny_run(name: str, **changes: Any) -> dict[str, Any]:
    """An MSMRun with every kind of stage that needs no other server; a change replaces a field of spec."""
    training = {"maxLength": 64, "batchTokens": 64, "learningRate": 1e-3, "checkpointEvery": "5s"}
    items = [
        {"id": f"i{n}", "value": "home", "set": "free", "domain": domain, "options": [f"a home-made {thing}", f"a bought {thing}"]}
        for n, (domain, thing) in enumerate(ITEMS)
    ]
    spec: dict[str, Any] = {
        "baseModel": {"uri": f"s3://{BUCKET}/{MODEL}", "identity": {"model": "Tiny", "provider": "Nobody"}},
        "modelSpecs": [{"name": "home", "source": {"inline": SPEC}}],
        "corpora": [{"name": "home", "modelSpec": "home", "tokens": 6000, "compose": {}, "quality": {"decontaminate": ["values"]}}],
        "demonstrations": [{"name": "food", "compose": {"samples": 120, "liked": ["tea", "bread"], "disliked": ["coffee", "cake"]}}],
        "training": {
            "method": "lora",
            "lora": {"rank": 8, "alpha": 16},
            "midtrain": training,
            "finetune": {**training, "maxLength": 128, "batchTokens": 128},
            "precision": "float32",
        },
        "arms": [
            {"name": "aft", "finetune": ["food"]},
            {"name": "msm-home-aft", "midtrain": ["home"], "finetune": ["food"]},
        ],
        "evals": [{"name": "values", "items": {"source": {"inline": "\n".join(map(json.dumps, items))}}, "generate": 2}],
        "registry": {"model": name, "candidate": "msm-home-aft"},
    }
    return {"apiVersion": "modelspec.dev/v1alpha1", "kind": "MSMRun", "metadata": {"name": name}, "spec": spec | changes}
