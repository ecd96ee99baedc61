"""The same run on this machine by `msm run`: what the cluster's artifacts are held against.

Invariant: it has a prefix of the bucket to itself, so nothing of the cluster's is re-used, nor the other way round.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from msm.local.accept import read_plan
from msm.local.records import list_runs, load_results
from msm.results.rows import Results
from msm.store import StoreConfig, open_store
from msm.store.artifacts import read_manifest
from msm.store.manifest import Manifest
from tests.e2e.cluster import Cluster

MSM = Path(sys.executable).with_name("msm")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left in a store."""

    manifests: dict[str, Manifest]
    """Name of a stage -> its artifact."""
    results: Results
    seconds: float = 0.0

    def margins(self) -> dict[tuple[str, str], float]:
        """(arm, metric) -> mean margin in nats."""
        return {(row.arm, row.metric): row.mean for row in self.results.arms}

    def digests(self, *kinds: str) -> dict[str, str]:
        """Name -> contentDigest of the stages of some kinds."""
        return {name: one.content_digest for name, one in self.manifests.items() if one.kind in kinds}


def run_embedded(made: Cluster, data: dict[str, Any], directory: Path, prefix: str) -> Outcome:
    """`msm run`, in a directory and a prefix of its own.

    Raises:
        CalledProcessError: it failed; what it said is on standard error.
    """
    directory.mkdir(parents=True)
    file = directory / "run.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    config = made.store(prefix)
    began = time.monotonic()
    subprocess.run([str(MSM), "run", str(file)], check=True, cwd=directory, env=environment(config, directory), stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    (uid,) = list_runs(open_store(config))
    return outcome(config, uid, seconds)


def environment(config: StoreConfig, directory: Path) -> dict[str, str]:
    """What `msm` is given besides the run's file."""
    return {**os.environ, **config.to_environ(), "MSM_HOME": str(directory / ".msm"), "MLFLOW_DISABLE_TELEMETRY": "true"}


def outcome(config: StoreConfig, uid: str, seconds: float = 0.0) -> Outcome:
    """What a run left in a store; `uid` is its identity there."""
    store = open_store(config)
    plan, results = read_plan(store, uid), load_results(store, uid)
    assert plan is not None and results is not None, f"{uid} has no plan or no results"
    found = {stage.name: read_manifest(store, stage.kind, stage.fingerprint) for stage in plan.stages}
    return Outcome({name: one for name, one in found.items() if one is not None}, results, seconds)
