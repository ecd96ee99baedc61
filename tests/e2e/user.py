"""What a user types: `kubectl apply`, `msm mirror`, `msm promote`, each as a process with the environment that a user has.

Invariant: nothing here knows how the platform works inside.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.cluster import BUCKET, RUNS, Cluster
from tests.e2e.embedded import MSM

MIRROR = f"s3://{BUCKET}/mirror"


def apply(made: Cluster, data: dict[str, Any], namespace: str = RUNS) -> None:
    """`kubectl apply -f -`."""
    made.api.kubectl("apply", f"--namespace={namespace}", "-f", "-", stdin=yaml.safe_dump(data))


def msm(made: Cluster, directory: Path, *arguments: str) -> str:
    """What an `msm` command prints, with the cluster's store and MLflow.

    Raises:
        CalledProcessError: it failed; what it said is on standard error.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tracking = f"http://{made.address('mlflow', 'stores')}:5000"
    environment = {**os.environ, **made.store().to_environ(), "MSM_HOME": str(directory / ".msm"), "MSM_TRACKING_URI": tracking}
    return subprocess.run([str(MSM), *arguments], stdout=subprocess.PIPE, text=True, check=True, cwd=directory, env=environment).stdout


def mirror(made: Cluster, data: dict[str, Any], directory: Path) -> None:
    """Copy a run's remote inputs to where the cluster, which has no way out, looks for them."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{data['metadata']['name']}.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    msm(made, directory, "mirror", str(file), "--to", MIRROR)
