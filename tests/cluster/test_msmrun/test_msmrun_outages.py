"""What a run bears: the operator killed at any moment, and a store that refuses or hangs."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from tests.cluster.test_msmrun.gate import Gate
from tests.cluster.test_msmrun.installation import TINY, Installation

Room = tuple[Installation, str]


def done(operator: Installation, namespace: str) -> int:
    count: int = operator.get(namespace).get("status", {}).get("plan", {}).get("done", 0)
    return count


def test_an_operator_that_is_killed_again_and_again_finishes_the_run_and_starts_nothing_twice(room: Room) -> None:
    operator, namespace = room
    operator.submit(namespace, execution={"parallelism": 2})
    for kill in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        before = done(operator, namespace)
        operator.work_until(namespace, lambda b=before: done(operator, namespace) > b, 120)  # type: ignore[misc]
        operator.end(kill)
        operator.start()
    operator.work_until(namespace, lambda: operator.condition(namespace, "Succeeded").get("status") == "True")
    kinds = ("batch/v1/namespaces/{}/jobs", "kubeflow.org/v1/namespaces/{}/pytorchjobs")
    jobs = [j for kind in kinds for j in operator.plane.api.request("GET", f"/apis/{kind.format(namespace)}").body["items"]]
    stages = [j["metadata"]["labels"]["modelspec.dev/stage"] for j in jobs]
    counts = operator.get(namespace)["status"]["plan"]
    assert len(stages) == len(set(stages)) == counts["total"] - counts["reused"]


@pytest.mark.parametrize("how", ["shut", "stuck"])
def test_a_store_that_goes_away_is_a_condition_and_the_run_goes_on_when_it_is_back(
    operator: Installation, namespace: str, tmp_path: Path, how: Literal["shut", "stuck"]
) -> None:
    operator.end()
    gate = Gate(operator.s3.endpoint)
    behind = replace(
        operator, directory=tmp_path, more={"MSM_STORE_ENDPOINT": gate.endpoint}, bucket=f"{operator.bucket}-{how}", process=None
    )
    behind.prepare()
    behind.start()
    try:
        behind.submit(namespace, **TINY)
        behind.until(lambda: behind.pods(namespace))
        gate.turn(how)
        behind.work(namespace)
        behind.until(lambda: behind.condition(namespace, "StoreAvailable").get("status") == "False")
        assert behind.condition(namespace, "StoreAvailable")["reason"] == "Unreachable"
        assert behind.condition(namespace, "Failed")["status"] == "False"
        gate.turn("open")
        behind.work_until(namespace, lambda: behind.condition(namespace, "Succeeded").get("status") == "True", 240)
        assert behind.condition(namespace, "StoreAvailable")["status"] == "True"
    finally:
        behind.end()
        operator.start()
