"""fetch: the base model as a plain Hugging Face directory of safetensors, float32.

The artifact is the directory. Cost: a download and a conversion, once a model and store.
"""

import os
from dataclasses import replace

from msm.data.fetch_model import fetch_model
from msm.plan import Resolved
from msm.resolve.outside import local_clients
from msm.stages.context import Context, Result
from msm.stages.params import text
from msm.store import ObjectStore, StoreConfig, open_store


def run(context: Context) -> Result:
    """Fetch and convert the model."""
    source = Resolved(identity=text(context.params, "source"), location=text(context.stage.execution, "location"))
    clients = local_clients(context.cache / "downloads", _bucket, os.environ.get("MLFLOW_TRACKING_URI"))
    model = fetch_model(source, context.out, clients)
    return Result({"bytes": sum(path.stat().st_size for path in model.rglob("*") if path.is_file())})


def _bucket(name: str) -> ObjectStore:
    """A bucket on the server of this stage's store."""
    return open_store(replace(StoreConfig.from_environ(os.environ), uri=f"s3://{name}"))
