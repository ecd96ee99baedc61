"""The control plane itself: what other tests rely on."""

import json
import subprocess
import sys
import time
from collections.abc import Callable

from tests.cluster.control_plane import ControlPlane, audit

POD = {"containers": [{"name": "main", "image": "example.invalid/none:1"}]}


def eventually(question: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.1)


def job(name: str, namespace: str, **annotations: str) -> dict:
    marks = {f"fake.modelspec.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    template = {"metadata": {"annotations": marks}, "spec": {**POD, "restartPolicy": "Never"}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": template},
    }


def conditions(status: dict) -> set[str]:
    return {one["type"] for one in status.get("conditions") or [] if one["status"] == "True"}


def test_it_says_the_version_that_is_pinned(control_plane: ControlPlane) -> None:
    version = json.loads(control_plane.api.kubectl("version", "-o", "json"))
    assert version["serverVersion"]["gitVersion"] == version["clientVersion"]["gitVersion"] == "v1.36.4"


def test_a_job_ends_as_its_annotations_say(fake_nodes: ControlPlane, namespace: str) -> None:
    api = fake_nodes.api
    api.put(job("good", namespace, exit_code="0"), job("bad", namespace, exit_code="3", message='{"reason": "Fault"}'))
    eventually(lambda: "Complete" in conditions(api.get("job", "good", "-n", namespace).get("status", {})))
    eventually(lambda: "Failed" in conditions(api.get("job", "bad", "-n", namespace).get("status", {})))
    pod = api.get("pods", "-n", namespace, "-l", "job-name=bad")["items"][0]
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (3, '{"reason": "Fault"}')


def test_a_service_account_may_do_nothing_by_itself(control_plane: ControlPlane, namespace: str) -> None:
    from tests.cluster.control_plane import Api

    control_plane.api.put({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": namespace}})
    nobody = Api(control_plane.service_account(namespace, "nobody"))
    reply = nobody.request("GET", f"/api/v1/namespaces/{namespace}/secrets")
    assert reply.status == 403
    assert f"system:serviceaccount:{namespace}:nobody" in reply.message


def test_the_audit_log_holds_every_write_and_no_read(control_plane: ControlPlane, namespace: str) -> None:
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "noted", "namespace": namespace}}
    control_plane.api.put(made)
    control_plane.api.get("configmap", "noted", "-n", namespace)
    found = [write for write in audit.writes(control_plane.audit_log, "admin") if (write.namespace, write.name) == (namespace, "noted")]
    assert [(write.verb, write.resource, write.code) for write in found] == [("patch", "configmaps", 201)]


def test_the_api_server_comes_back_with_what_it_had(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "namespace": namespace}})
    control_plane.restart_api_server(kill=True)
    assert control_plane.api.get("configmap", "kept", "-n", namespace)["metadata"]["name"] == "kept"


def test_no_server_outlives_a_killed_parent(control_plane: ControlPlane) -> None:
    from tests.cluster.control_plane.processes import TIED

    program = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-S', {str(TIED)!r}, str(os.getpid()), '/bin/sleep', '60'])\n"
        "time.sleep(0.5)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    eventually(lambda: not _is_alive(child), seconds=10)


def _is_alive(pid: int) -> bool:
    from pathlib import Path

    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False
