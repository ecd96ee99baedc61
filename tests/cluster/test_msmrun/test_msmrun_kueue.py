"""Runs under Kueue's quotas: queued, admitted, preempted, and never fought with."""

from typing import Any

from tests.cluster.control_plane import ControlPlane
from tests.cluster.test_msmrun.installation import TINY, Installation

Room = tuple[Installation, str]
QUEUED = {"queueName": "team"}


def quota(plane: ControlPlane, namespace: str, pods: int, drained: bool = False) -> None:
    """A queue of the namespace's own with room for some pods; `drained`: all that run are evicted, and none are admitted."""
    flavor = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": "plain"}}
    resource = {"name": "pods", "nominalQuota": pods}
    cluster_queue = {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "ClusterQueue",
        "metadata": {"name": namespace},
        "spec": {
            "namespaceSelector": {},
            "stopPolicy": "HoldAndDrain" if drained else "None",
            "resourceGroups": [{"coveredResources": ["pods"], "flavors": [{"name": "plain", "resources": [resource]}]}],
        },
    }
    local_queue = {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "LocalQueue",
        "metadata": {"name": "team", "namespace": namespace},
        "spec": {"clusterQueue": namespace},
    }
    plane.api.put(flavor, cluster_queue, local_queue)


def test_a_run_without_quota_is_queued_and_goes_on_when_there_is_some(kueue: ControlPlane, room: Room) -> None:
    operator, namespace = room
    quota(kueue, namespace, 0)
    operator.submit(namespace, **TINY, execution=QUEUED)
    operator.until(lambda: operator.condition(namespace, "Progressing").get("reason") == "Queued", 90)
    row: dict[str, Any] = operator.get(namespace)["status"]["stages"][0]
    assert (row["reason"], "startTime" in row) == ("Queued", False), "waiting for quota counts for no deadline"
    assert not operator.pods(namespace)
    quota(kueue, namespace, 4)
    operator.work_until(namespace, lambda: operator.condition(namespace, "Succeeded").get("status") == "True")
    jobs = kueue.api.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs").body["items"]
    assert {j["metadata"]["labels"]["modelspec.dev/attempt"] for j in jobs} == {"1"}, "queueing is no attempt"


def test_what_kueue_evicts_gives_its_pods_back_and_goes_on_as_the_same_attempt(kueue: ControlPlane, room: Room) -> None:
    operator, namespace = room
    quota(kueue, namespace, 4)
    operator.submit(
        namespace, arms=[{"name": "msm", "midtrain": ["america"]}], demonstrations=[], registry={"model": "x"}, execution=QUEUED
    )

    def training() -> list[dict[str, Any]]:
        return [p for p in operator.pods(namespace) if p["metadata"]["labels"].get("modelspec.dev/stage-kind") == "midtrain"]

    def until_it_trains() -> bool:
        return bool(training()) or (operator.work(namespace) and False)

    operator.until(until_it_trains, 300)
    quota(kueue, namespace, 4, drained=True)
    operator.until(lambda: not operator.pods(namespace), 90, "Kueue has the pods deleted")
    operator.until(lambda: operator.condition(namespace, "Progressing").get("reason") == "Queued", 90)
    (row,) = (r for r in operator.get(namespace)["status"]["stages"] if r["kind"] == "midtrain")
    assert (row.get("faults", 0), "last" in row, "startTime" in row) == (0, False, False), "an eviction is no end of an attempt"
    quota(kueue, namespace, 4)
    operator.work_until(namespace, lambda: operator.condition(namespace, "Succeeded").get("status") == "True")
    jobs = kueue.api.request("GET", f"/apis/kubeflow.org/v1/namespaces/{namespace}/pytorchjobs").body["items"]
    assert [j["metadata"]["labels"]["modelspec.dev/attempt"] for j in jobs] == ["1"]
