"""A run's inputs as a cluster needs them; and `python -m msm.local.resolving`, which resolves them in a pod that may read private ones.

Neighbours: the operator resolves by the same function what it may read, starts the program for what it may not, and plans from what that
leaves. The pod has the hub's token, which the operator has not. Reads `runs/<id>/asked.json`, writes `runs/<id>/resolution.json` once; ends
as a stage program ends, with the same exit codes and last message. Invariant: resolved once: whoever is first has resolved the run.
"""

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msm.api import MSMRun
from msm.api.base import Record
from msm.errors import UserError
from msm.local.accept import resolve_checked
from msm.plan import Resolution, Resolved
from msm.plan.planner import served
from msm.resolve.clients import Clients
from msm.resolve.inputs import Keep, resolve_model
from msm.stages import contract
from msm.stages.outside import process_clients
from msm.stages.program import explained
from msm.store import ObjectNotFound, ObjectStore, StoreConfig, open_store
from msm.store.blobs import put_blob
from msm.train.precision import Precision

log = logging.getLogger(__name__)
RUN_ID: Final = "MSM_RUN_ID"
"""Environment variable: which run's inputs to resolve."""


class AskedRun(Record):
    """What is to be resolved: `runs/<id>/asked.json`."""

    run: MSMRun
    """The run, with the texts of its ConfigMaps in their place."""
    precision: Precision
    """Arithmetic of the run, which the operator decides."""


def ask(store: ObjectStore, id_: str, asked: AskedRun) -> None:
    """Say what a pod is to resolve; a later question replaces an earlier one."""
    store.put(f"runs/{id_}/asked.json", asked.model_dump_json(by_alias=True).encode())


def answer(store: ObjectStore, id_: str) -> Resolution | None:
    """What a pod has resolved, if it has."""
    try:
        return Resolution.model_validate_json(store.get(f"runs/{id_}/resolution.json"))
    except ObjectNotFound:
        return None


def resolve_for_cluster(run: MSMRun, clients: Clients, keep: Keep, precision: Precision, base: Path = Path("/")) -> Resolution:
    """All inputs, those included that only a cluster has: what its endpoints serve; `base` is where local paths begin, in a preview.

    Raises:
        UserError: an input is not there or not usable; TryAgain: something outside does not answer.
    """
    resolution = resolve_checked(run, base, clients, keep, precision)
    weights = {
        f"endpoints.{e.name}": _weights(e.serve.model, e.serve.revision, f"spec.endpoints.{e.name}.serve.model", clients)
        for e in run.spec.endpoints
        if e.serve is not None
    }
    arms = {served(e.name): Resolved(identity="cluster", location="cluster") for e in run.spec.evals if e.via == "endpoint"}
    return resolution.model_copy(update={"inputs": {**resolution.inputs, **weights, **arms}})


def _weights(uri: str, revision: str | None, field: str, clients: Clients) -> Resolved:
    """What an endpoint serves; a volume's contents are not looked at, so its address is its identity."""
    if uri.startswith("pvc://"):
        return Resolved(identity=uri, location=uri)
    return resolve_model(uri, revision, field, None, clients)


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Resolve the run that the environment names; the process's exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    record = explained(lambda: _resolve(environ), Path(environ.get(contract.CACHE, ".")))
    termination = Path(environ[contract.TERMINATION_LOG]) if contract.TERMINATION_LOG in environ else None
    contract.write_termination(termination, record)
    log.info("exit %s %s %s", record.exitCode, record.reason, record.message)
    return record.exitCode


def _resolve(environ: Mapping[str, str]) -> str:
    id_ = environ.get(RUN_ID)
    if not id_:
        raise UserError(RUN_ID, "is not set", "this program is started by the operator")
    config = StoreConfig.from_environ(environ)
    store = open_store(config)
    asked = AskedRun.model_validate_json(store.get(f"runs/{id_}/asked.json"))
    clients = process_clients(Path(environ.get(contract.CACHE, "/tmp")), config, environ)
    found = resolve_for_cluster(asked.run, clients, lambda data: put_blob(store, data), asked.precision)
    store.put_if_absent(f"runs/{id_}/resolution.json", found.model_dump_json(by_alias=True).encode())
    return f"{len(found.inputs)} inputs are resolved"


if __name__ == "__main__":
    sys.exit(main())
