"""Runs under Kueue's quotas: queued, admitted, preempted, and never fought with."""

from typing import Any

from tests.cluster.control_plane import ControlPlane
from tests.cluster.test_msmrun.installation import TINY, Installation

Room = tuple[Installation, str]


def quota(plane: ControlPlane, namespace: str, pods: int) -> None:
    """A queue of the namespace's own with room for some pods."""
    flavor = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": "plain"}}
    resource = {"name": "pods", "nominalQuota": pods}
    cluster_queue = {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "ClusterQueue",
        "metadata": {"name": namespace},
        "spec": {
            "namespaceSelector": {},
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
    operator.submit(namespace, **TINY, execution={"queueName": "team"})
    operator.until(lambda: operator.condition(namespace, "Progressing").get("reason") == "Queued", 90)
    row: dict[str, Any] = operator.get(namespace)["status"]["stages"][0]
    assert (row["reason"], "startTime" in row) == ("Queued", False), "waiting for quota counts for no deadline"
    assert not operator.pods(namespace)
    quota(kueue, namespace, 4)
    operator.work_until(namespace, lambda: operator.condition(namespace, "Succeeded").get("status") == "True")
    jobs = kueue.api.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs").body["items"]
    assert {j["metadata"]["labels"]["modelspec.dev/attempt"] for j in jobs} == {"1"}, "queueing is no attempt"
