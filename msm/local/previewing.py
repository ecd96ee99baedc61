"""A run planned where it is looked at: as this machine would, or as a cluster would where only a cluster can run it.

Neighbours: `accept` plans what runs here, `resolving` what runs there; `msm preview` counts the plan. Invariant: nothing is kept. Cost: the
outside is asked for the identities of models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from msm.api import MSMRun, load_run
from msm.local.accept import Accepted, preview_plan, run_uid
from msm.local.resolving import resolve_for_cluster
from msm.local.workspace import workspace
from msm.plan import plan_run
from msm.resolve.clients import Clients
from msm.stages.outside import process_clients
from msm.store import open_store
from msm.train.precision import Precision


@dataclass(frozen=True, slots=True)
class Looked:
    """A plan, and whom it was asked of."""

    planned: Accepted
    clients: Clients


def look_at(path: Path, environ: Mapping[str, str], directory: Path) -> Looked:
    """Plan the run in a file.

    Raises:
        UserError: the file, an input or the store is not usable; TryAgain: something outside does not answer.
    """
    run, space = load_run(path), workspace(environ, directory)
    clients = process_clients(space.cache, space.store_config(run, environ), environ)
    planned = _as_a_cluster(run, path.parent, clients, environ, directory) if needs_cluster(run) else preview_plan(path, environ, directory)
    return Looked(planned, clients)


def needs_cluster(run: MSMRun) -> bool:
    """Whether anything in it is only to be had in a cluster."""
    spec = run.spec
    stages = (spec.training.midtrain, spec.training.finetune)
    serves = any(endpoint.serve is not None for endpoint in spec.endpoints) or any(one.via == "endpoint" for one in spec.evals)
    return serves or any(stage.resources.nodes > 1 or stage.resources.gpus_per_node for stage in stages)


def _as_a_cluster(run: MSMRun, base: Path, clients: Clients, environ: Mapping[str, str], directory: Path) -> Accepted:
    space = workspace(environ, directory)
    store = open_store(space.store_config(run, environ))
    resolution = resolve_for_cluster(run, clients, lambda data: sha256(data).hexdigest(), _precision(run), base)
    return Accepted(run, run_uid(run, base), plan_run(run, resolution), store, space, frozen_before=False)


def _precision(run: MSMRun) -> Precision:
    """As a cluster decides it, GPUs taken to be of a kind that has bfloat16."""
    training = run.spec.training
    if training.precision != "auto":
        return training.precision
    return "bfloat16" if max(training.midtrain.resources.gpus_per_node, training.finetune.resources.gpus_per_node) else "float32"
