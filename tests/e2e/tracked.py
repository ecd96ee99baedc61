"""What MLflow shows of a run: asked of the server that the cluster uses, as anybody would."""

import os
from typing import TYPE_CHECKING

from tests.e2e.cluster import Cluster
from tests.e2e.embedded import Outcome
from tests.e2e.record import Record
from tests.e2e.watch import TRAINED

if TYPE_CHECKING:
    from mlflow import MlflowClient


def client(made: Cluster) -> "MlflowClient":
    """The server's client."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    return MlflowClient(f"http://{made.address('mlflow', 'stores')}:5000")


def check_tracked(made: Cluster, record: Record, name: str, there: Outcome) -> None:
    """Runs of an experiment and versions of a registered model, both called as the run."""
    found = client(made)
    experiment = found.get_experiment_by_name(name)
    runs = found.search_runs([experiment.experiment_id], max_results=200) if experiment is not None else []
    record.check("MLflow lists the run and its stages", len(runs) >= 1 + len(there.digests(*TRAINED, "evaluate")), f"{len(runs)} runs")
    versions = found.search_model_versions(f"name = '{name}'")
    shown = {version.tags.get("msm.fingerprint") for version in versions}
    trained = {one.fingerprint for one in there.manifests.values() if one.kind in TRAINED}
    record.check("MLflow has a version of every trained stage", shown == trained, f"{len(versions)} versions")
    record.check("the candidate alias names one of them", found.get_registered_model(name).aliases.get("candidate"))
