"""Runs that nobody would write: each is refused with one line that names a field, or is planned; never a traceback, never a hot loop."""

import random
from pathlib import Path
from typing import Any

from msm_operator.runtime.resources import CONFIGMAPS
from tests.cluster.fuzz import edited, reachable
from tests.cluster.runs import run
from tests.unit.operator_msmrun.cluster import NAMESPACE, Workshop

RUNS = 60


def look_at(workshop: Workshop, number: int, data: dict[str, Any]) -> str:
    """Submit a run and look at it twice; what became of it."""
    name = f"run-{number}"
    data["metadata"] = {"name": name, "namespace": NAMESPACE}
    workshop.submit(data)
    workshop.reconcile(name)
    workshop.reconcile(name)
    accepted = workshop.condition("Accepted", name)
    if accepted["status"] == "True":
        return "accepted"
    assert accepted["status"] == "False", accepted
    assert accepted["message"] and "\n" not in accepted["message"]
    assert accepted["message"].split(":")[0].split(" ")[0].startswith(("spec", "MSMRun", "corpora", "demonstrations")), accepted["message"]
    writes = len(workshop.cluster.writes)
    workshop.clock(120)
    workshop.reconcile(name)
    assert len(workshop.cluster.writes) == writes
    return "refused"


def test_a_random_run_is_refused_by_field_or_planned(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    held = {"metadata": {"name": "specs", "namespace": NAMESPACE}, "data": {"rules.md": "1. Be kind."}}
    workshop.cluster.put(CONFIGMAPS, held)
    outcomes = [look_at(workshop, seed, run("fuzzed", NAMESPACE, reachable(edited(random.Random(seed))))) for seed in range(RUNS)]
    assert {"accepted", "refused"} == set(outcomes)
