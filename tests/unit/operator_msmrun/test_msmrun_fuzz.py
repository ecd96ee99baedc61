"""Runs that nobody would write: each is refused with one line that names a field, or is planned; never a traceback, never a hot loop."""

import contextlib
import random
from pathlib import Path
from typing import Any

from msm_operator.runtime.resources import CONFIGMAPS
from tests.cluster.fuzz import edited
from tests.cluster.runs import run
from tests.unit.operator_msmrun.cluster import NAMESPACE, Workshop

RUNS = 60


def reachable(draw: random.Random) -> dict[str, Any]:
    """A random run whose inputs, as far as they are addresses, lie in the fake bucket; so that more than parsing is tried."""
    spec = edited(draw)
    spec.pop("storage", None)
    with contextlib.suppress(TypeError, AttributeError, KeyError):
        spec["baseModel"]["uri"] = "s3://inputs/model"
        spec["baseModel"].pop("revision", None)
        spec["evals"] = [e for e in spec.get("evals", ()) if e.get("via") != "endpoint"]
        for evaluation in spec["evals"]:
            if "items" in evaluation:
                evaluation["items"] = {"source": {"uri": "s3://inputs/items.jsonl"}}
        for part in (*spec.get("corpora", ()), *spec.get("demonstrations", ())):
            if "source" in part:
                part["source"] = {"uri": "s3://inputs/items.jsonl"}
        for endpoint in spec.get("endpoints", ()):
            if "serve" in endpoint:
                endpoint["serve"]["model"] = "s3://inputs/model"
                endpoint["serve"].pop("revision", None)
    return run("fuzzed", NAMESPACE, spec)


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
    outcomes = [look_at(workshop, seed, reachable(random.Random(seed))) for seed in range(RUNS)]
    assert {"accepted", "refused"} == set(outcomes)
