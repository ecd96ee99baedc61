"""Deletion: what goes with a run and with the chart, and what is to stay."""

import time

from tests.e2e.cluster import RUNS, SYSTEM, Cluster
from tests.e2e.record import Record

MADE = "jobs,pytorchjobs,pods,inferenceservices,servingruntimes,services,deployments,networkpolicies"
GONE_SECONDS = 180.0


def farewell(made: Cluster, record: Record) -> None:
    """Delete everything as a user does."""
    before = len(made.api.get("msmruns", f"--namespace={RUNS}")["items"])
    made.api.kubectl("delete", "evaldeployments,msmruns", "--all", f"--namespace={RUNS}", "--timeout=180s")
    left = wait_gone(made)
    record.check(f"deleting {before} runs leaves nothing of them in the cluster", not left, left)
    from msm.store import open_store

    kept = sum(1 for entry in open_store(made.store()).list("") if entry.key.endswith("manifest.json"))
    record.check("artifacts stay in the store", kept > 0, f"{kept} manifests")
    made.helm("uninstall", "msm", f"--namespace={SYSTEM}", "--wait")
    names = made.api.kubectl("get", "crds", "-o", "name").split()
    record.check("uninstalling the chart keeps the definitions", sum("modelspec.dev" in name for name in names) == 2)
    record.check("and removes the operator", not made.api.get("deployments", f"--namespace={SYSTEM}")["items"])


def wait_gone(made: Cluster) -> list[str]:
    """What is still there of all runs, after some patience."""
    deadline = time.monotonic() + GONE_SECONDS
    while left := made.api.kubectl("get", MADE, f"--namespace={RUNS}", "-o", "name").split():
        if time.monotonic() > deadline:
            break
        time.sleep(1)
    return left
