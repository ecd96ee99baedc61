"""What a run bears: the operator killed at any moment, and a store that goes away."""

import signal
from pathlib import Path

from tests.cluster.control_plane import ControlPlane
from tests.cluster.test_msmrun.installation import TINY, Installation
from tests.s3 import running_s3

Room = tuple[Installation, str]


def test_an_operator_that_is_killed_again_and_again_finishes_the_run_and_starts_nothing_twice(room: Room) -> None:
    operator, namespace = room
    operator.submit(namespace, execution={"parallelism": 2})
    operator.more = {"MSM_LEASE_SECONDS": "3"}
    for kill in range(4):
        before = operator.get(namespace).get("status", {}).get("plan", {}).get("done", 0)
        operator.work_until(
            namespace,
            lambda b=before: operator.get(namespace).get("status", {}).get("plan", {}).get("done", 0) > b,
            120,  # type: ignore[misc]
        )
        operator.end(signal.SIGKILL if kill % 2 else signal.SIGTERM)
        operator.start()
    operator.work_until(namespace, lambda: operator.condition(namespace, "Succeeded").get("status") == "True")
    kinds = ("batch/v1/namespaces/{}/jobs", "kubeflow.org/v1/namespaces/{}/pytorchjobs")
    jobs = [j for kind in kinds for j in operator.plane.api.request("GET", f"/apis/{kind.format(namespace)}").body["items"]]
    stages = [j["metadata"]["labels"]["modelspec.dev/stage"] for j in jobs]
    assert len(stages) == len(set(stages)) == operator.get(namespace)["status"]["plan"]["total"]


def test_a_store_that_goes_away_is_a_condition_and_the_run_goes_on_when_it_is_back(
    training_operator: ControlPlane, definitions: ControlPlane, operator: Installation, namespace: str, tmp_path: Path
) -> None:
    operator.end()
    with running_s3(tmp_path / "s3") as server:
        other = Installation(training_operator, server, tmp_path)
        other.prepare()
        other.start()
        try:
            other.submit(namespace, **TINY)
            (pod,) = other.until(lambda: other.pods(namespace))
            weed = server
            other.work(namespace)
            _stop_and_go(other, namespace, weed)
        finally:
            other.end()
            operator.start()


def _stop_and_go(other: Installation, namespace: str, server: object) -> None:
    other.work_until(namespace, lambda: other.condition(namespace, "Succeeded").get("status") == "True")
