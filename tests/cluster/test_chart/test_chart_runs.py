"""Runs under an installed release: they keep plan and image through an upgrade, are walled in, and `helm test` is one of them."""

from pathlib import Path
from typing import Any

from tests.cluster.test_chart.release import HOME, Kubelet, Release
from tests.cluster.test_msmrun.installation import CODE, TINY, Installation
from tests.cluster.test_msmrun.test_msmrun_for_real import execute

Object = dict[str, Any]


def operator_of(release: Release, directory: Path) -> Installation:
    """The operator as a process here, with the environment and the rights that the release's Deployment gives its pods now."""
    directory.mkdir(exist_ok=True)
    here = {"MSM_HEALTH_PORT": "0", "MSM_CACHE": str(directory), "HOME": str(directory)}
    identity = release.plane.service_account(HOME, "msm-operator")
    said = {**release.operator_environment(), **here}
    found = Installation(release.plane, release.s3, directory, identity, said, bucket=release.bucket)
    found.prepare()
    return found


def images(release: Release, namespace: str) -> set[str]:
    """Images of all Jobs of a namespace."""
    jobs = release.plane.api.get("jobs", "-n", namespace)["items"]
    return {job["spec"]["template"]["spec"]["containers"][0]["image"] for job in jobs}


def test_a_live_run_keeps_plan_and_image_through_an_upgrade_and_the_next_one_gets_the_new(release: Release, tmp_path: Path) -> None:
    release.prepare("later")
    release.install("--wait")
    operator = operator_of(release, tmp_path / "operator").start()
    try:
        operator.submit("team", **TINY)
        operator.until(lambda: operator.pods("team"), why="no pod")
        plan = operator.get("team")["status"]["plan"]["digest"]
        release.install("--wait", verb=("upgrade",), images={"trainer": {"tag": "2"}})
        operator.end()
        operator = operator_of(release, tmp_path / "operator").start()
        operator.work_until("team", lambda: operator.condition("team", "Succeeded").get("status") == "True")
        assert operator.get("team")["status"]["plan"]["digest"] == plan
        assert images(release, "team") == {"registry.example.com/msm-trainer:1"}
        operator.submit("later", **TINY)
        operator.work_until("later", lambda: operator.condition("later", "Succeeded").get("status") == "True")
        assert images(release, "later") == {"registry.example.com/msm-trainer:2"}
    finally:
        operator.end()
        for namespace in ("team", "later"):
            release.plane.api.kubectl("delete", "msmrun", "--all", "-n", namespace)


def test_a_run_has_its_wall_before_its_pods_and_the_chart_says_what_it_lets_through(release: Release, tmp_path: Path) -> None:
    release.prepare("walled")
    extra = {"to": [{"ipBlock": {"cidr": "203.0.113.7/32"}}], "ports": [{"port": 8443, "protocol": "TCP"}]}
    release.install("--wait", networkPolicy={"egress": [extra]}, tracking={"uri": "http://mlflow.mlops.svc:5000"})
    operator = operator_of(release, tmp_path / "operator").start()
    try:
        operator.submit("walled", **TINY)
        (pod,) = operator.until(lambda: operator.pods("walled"), why="no pod")
        (policy,) = release.plane.api.get("networkpolicies", "-n", "walled")["items"]
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert policy["metadata"]["creationTimestamp"] <= pod["metadata"]["creationTimestamp"]
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        out = policy["spec"]["egress"]
        assert extra in out
        port = int(release.s3.endpoint.rpartition(":")[2])
        assert {"to": [{"ipBlock": {"cidr": "127.0.0.1/32"}}], "ports": [{"port": port, "protocol": "TCP"}]} in out
        assert {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "mlops"}}}]} in out
    finally:
        operator.end()
        release.plane.api.kubectl("delete", "msmrun", "--all", "-n", "walled")


def test_helm_test_brings_a_tiny_run_to_succeeded_and_leaves_nothing(release: Release, tmp_path: Path) -> None:
    release.install("--wait", test={"namespace": "team"})
    operator = operator_of(release, tmp_path / "operator").start()
    kinds: set[str] = set()
    with Kubelet(release) as kubelet:

        def act() -> None:
            kubelet.turn()
            for pod in operator.pods("team"):
                if CODE not in pod["metadata"].get("annotations", {}):
                    kinds.add(pod["metadata"]["labels"]["modelspec.dev/stage-kind"])
                    code, message = execute(pod, operator, tmp_path)
                    operator.annotate(pod, exit_code=str(code), message=message)

        try:
            done = release.helm("test", "msm", "--timeout", "20m", act=act)
        finally:
            operator.end()
    said = release.said["msm-test"]
    assert done.returncode == 0, f"{done.stdout}\n{said}"
    assert "Succeeded" in said and "stages done" in said
    assert kinds == {"fetch", "demonstrate", "finetune", "evaluate"}
    assert release.plane.api.get("msmruns", "-n", "team")["items"] == []
    assert not [found.key for found in operator.store.list("selftest/")]
    assert not [found.key for found in operator.store.list("runs/")]


def test_helm_test_fails_with_what_the_run_says(release: Release, tmp_path: Path) -> None:
    release.install("--wait", test={"namespace": "team"})
    operator = operator_of(release, tmp_path / "operator").start()
    with Kubelet(release) as kubelet:

        def act() -> None:
            kubelet.turn()
            for pod in operator.pods("team"):
                if CODE not in pod["metadata"].get("annotations", {}):
                    operator.annotate(pod, exit_code="2", message='{"reason": "InvalidInput", "message": "scratch: no space left"}')

        try:
            done = release.helm("test", "msm", "--timeout", "5m", act=act)
        finally:
            operator.end()
    assert done.returncode != 0
    assert "Failed" in release.said["msm-test"] and "no space left" in release.said["msm-test"]
    assert release.plane.api.get("msmruns", "-n", "team")["items"] == []
