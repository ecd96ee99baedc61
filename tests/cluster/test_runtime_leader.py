"""Two replicas on a real API server: how soon another writes after a crash and after a clean stop, and that never two do.

Run as a program (`python -m tests.cluster.test_runtime_leader KUBECONFIG NAMESPACE NAME [DURATION]`) this module is one replica, which
writes a ConfigMap as often as it can while it leads. Each replica has a user of its own, so the audit log says who wrote what.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from msm_operator.runtime.api import Api
from msm_operator.runtime.connection import Connection, configuration
from msm_operator.runtime.leader import LeaseTiming
from msm_operator.runtime.manager import Manager, Settings, until_asked
from msm_operator.runtime.metrics import Metrics
from msm_operator.runtime.resources import CONFIGMAPS
from msm_operator.runtime.seams import Key
from tests.cluster.control_plane import ControlPlane, audit


class Scribbler:
    """A reconciler that writes its object again and again."""

    def __init__(self, manager: Manager, name: str) -> None:
        self.manager, self.name, self.count = manager, name, 0

    async def reconcile(self, key: Key) -> timedelta | None:
        self.count += 1
        meta = {"name": key.name, "namespace": key.namespace}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"by": self.name, "count": str(self.count)}}
        await self.manager.writer.apply(CONFIGMAPS, body)
        return timedelta(milliseconds=20)


async def replica(kubeconfig: Path, namespace: str, name: str, duration: float) -> None:
    """One replica, until SIGTERM."""
    metrics = Metrics()
    connection = Connection(await configuration(kubeconfig), metrics)
    timing = LeaseTiming() if duration == 15 else LeaseTiming(duration, duration * 2 / 3, duration / 6, 0.5)
    settings = Settings(Key(namespace, "leader"), name, timing, namespaces=(namespace,), health_host="127.0.0.1", health_port=0)
    manager = Manager(Api(connection), settings, metrics)
    objects = manager.follow(CONFIGMAPS, labels="written=yes")
    manager.control("scribbler", Scribbler(manager, name), objects)
    try:
        await until_asked(manager)
    finally:
        await connection.close()


@contextmanager
def replicas(plane: ControlPlane, namespace: str, duration: int) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Two replicas as processes, by the name of their user; ended at the end."""
    marked = {"name": "one", "namespace": namespace, "labels": {"written": "yes"}}
    plane.api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": marked})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    started: dict[str, subprocess.Popen[bytes]] = {}
    for name in (f"{namespace[:12]}-{letter}" for letter in "ab"):
        command = [
            sys.executable,
            "-m",
            "tests.cluster.test_runtime_leader",
            str(plane.user(name, "system:masters")),
            namespace,
            name,
            str(duration),
        ]
        started[name] = subprocess.Popen(command, env=environment)
    try:
        yield started
    finally:
        for process in started.values():
            process.kill()
            process.wait()


def holder(plane: ControlPlane, namespace: str) -> str:
    reply = plane.api.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/leader")
    return str(reply.body.get("spec", {}).get("holderIdentity", ""))


def written_by(plane: ControlPlane, namespace: str) -> str:
    reply = plane.api.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/one")
    return str(reply.body.get("data", {}).get("by", ""))


def eventually(question: object, seconds: float) -> float:
    """Seconds until `question()` was true."""
    begin = time.monotonic()
    assert callable(question)
    while not question():
        assert time.monotonic() - begin < seconds, "it did not become true"
        time.sleep(0.02)
    return time.monotonic() - begin


def one_at_a_time(plane: ControlPlane, namespace: str, *names: str) -> list[str]:
    """Who wrote the object, in turns; fails where two overlap. A write that arrived before the other's first counts as before it."""
    turns: list[str] = []
    for write in audit.writes(plane.audit_log):
        if write.namespace == namespace and write.resource == "configmaps" and write.user in names and write.code < 300:
            turns += [write.user] if not turns or turns[-1] != write.user else []
    return turns


@pytest.mark.parametrize(("duration", "limit"), [(15, 20.0), (3, 6.0)], ids=["15 s lease", "3 s lease"])
def test_after_a_crash_another_writes_within(control_plane: ControlPlane, namespace: str, duration: int, limit: float) -> None:
    with replicas(control_plane, namespace, duration) as running:
        eventually(lambda: written_by(control_plane, namespace) in running, 120)
        first = holder(control_plane, namespace)
        [second] = set(running) - {first}
        running[first].send_signal(signal.SIGKILL)
        took = eventually(lambda: written_by(control_plane, namespace) == second, 60)
        print(f"fail-over after SIGKILL with a {duration} s lease: {took:.1f} s")
        assert took < limit
    assert one_at_a_time(control_plane, namespace, first, second) == [first, second]


def test_after_a_clean_stop_another_writes_within_three_seconds(control_plane: ControlPlane, namespace: str) -> None:
    with replicas(control_plane, namespace, 15) as running:
        eventually(lambda: written_by(control_plane, namespace) in running, 120)
        first = holder(control_plane, namespace)
        [second] = set(running) - {first}
        time.sleep(5)
        running[first].send_signal(signal.SIGTERM)
        took = eventually(lambda: written_by(control_plane, namespace) == second, 60)
        print(f"fail-over after SIGTERM: {took:.1f} s")
        assert took < 3.0
        assert running[first].wait(timeout=20) == 0
    assert one_at_a_time(control_plane, namespace, first, second) == [first, second]


def test_a_frozen_leader_that_thaws_writes_nothing(control_plane: ControlPlane, namespace: str) -> None:
    with replicas(control_plane, namespace, 3) as running:
        eventually(lambda: written_by(control_plane, namespace) in running, 120)
        first = holder(control_plane, namespace)
        [second] = set(running) - {first}
        running[first].send_signal(signal.SIGSTOP)
        eventually(lambda: written_by(control_plane, namespace) == second, 60)
        running[first].send_signal(signal.SIGCONT)
        time.sleep(3)
        assert holder(control_plane, namespace) == second and running[first].poll() is None
    assert one_at_a_time(control_plane, namespace, first, second) == [first, second]


def test_replicas_that_lose_the_api_server_go_on_when_it_is_back(control_plane: ControlPlane, namespace: str) -> None:
    with replicas(control_plane, namespace, 3) as running:
        eventually(lambda: written_by(control_plane, namespace) in running, 120)
        control_plane.restart_api_server(kill=True)
        before = control_plane.api.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/one").body["metadata"]["resourceVersion"]
        path = f"/api/v1/namespaces/{namespace}/configmaps/one"
        eventually(lambda: control_plane.api.request("GET", path).body["metadata"]["resourceVersion"] != before, 180)
        assert all(process.poll() is None for process in running.values())
    turns = one_at_a_time(control_plane, namespace, *running)
    assert len(turns) <= 2


if __name__ == "__main__":
    asyncio.run(replica(Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])))
