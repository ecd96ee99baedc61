"""fetch: the base model as a plain Hugging Face directory of safetensors, float32.

The artifact is the directory. Cost: a download and a conversion, once a model and store.
"""

import os

from msm.data.chat import load_template
from msm.data.fetch_model import fetch_model
from msm.data.tokens import load_tokenizer
from msm.plan import Resolved
from msm.stages.context import Context, Result
from msm.stages.outside import process_clients
from msm.stages.params import text
from msm.store import StoreConfig


def run(context: Context) -> Result:
    """Fetch and convert the model; UserError when chats will need its template and it has none."""
    source = Resolved(identity=text(context.params, "source"), location=text(context.stage.execution, "location"))
    clients = process_clients(context.cache, StoreConfig.from_environ(os.environ), os.environ)
    model = fetch_model(source, context.out, clients)
    if context.stage.execution.get("chats"):
        load_template(load_tokenizer(model))
    return Result({"bytes": sum(path.stat().st_size for path in model.rglob("*") if path.is_file())})
