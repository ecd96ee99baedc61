"""The whole replica: caches, lease, controllers, writes, health, and its end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from msm_operator.runtime.controller import Controller, owner_keys
from msm_operator.runtime.errors import NotLeading
from msm_operator.runtime.health import Checks, HealthServer, Heartbeat
from msm_operator.runtime.leader import LeaseTiming
from msm_operator.runtime.manager import Followed, Manager, Settings, own_identity
from msm_operator.runtime.metrics import Metrics, samples
from msm_operator.runtime.reflector import Patience
from msm_operator.runtime.resources import JOBS, MSMRUNS, PYTORCHJOBS
from msm_operator.runtime.seams import Key
from tests.unit.operator_runtime.faulty_apiserver import Answer, FaultyApiServer, client, serving, until

QUICK = LeaseTiming(duration=2, renew_deadline=1.5, retry=0.4, look=0.05)
LEASE = Key("system", "msm-operator")
A = Key("team", "a")


def run(name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "modelspec.dev/v1alpha1", "kind": "MSMRun", "metadata": {"name": name, "namespace": "team"}, **more}


class OneJobEach:
    """A reconciler: one Job a run, its name in the status; `pace` before each pass's writes."""

    def __init__(self, manager: Manager, runs: Followed, jobs: Followed) -> None:
        self.manager, self.runs, self.jobs = manager, runs, jobs
        self.passes: list[str] = []
        self.pace = 0.0

    async def reconcile(self, key: Key) -> timedelta | None:
        self.passes.append(key.name)
        found = self.runs.store.get(key)
        if found is None:
            return None
        await asyncio.sleep(self.pace)
        owner = {"apiVersion": found["apiVersion"], "kind": "MSMRun", "name": key.name, "uid": found["metadata"]["uid"]}
        meta = {"name": f"{key.name}-job", "namespace": key.namespace, "ownerReferences": [owner]}
        if not self.jobs.store.owned_by(owner["uid"]):
            await self.manager.writer.apply(JOBS, {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta})
        status = {"job": meta["name"]}
        if found.get("status") != status:
            identity = {"apiVersion": found["apiVersion"], "kind": "MSMRun", "metadata": {"name": key.name, "namespace": key.namespace}}
            await self.manager.writer.apply(MSMRUNS, identity | {"status": status}, status=True)
            await self.manager.writer.event(found, "Normal", "JobStarted", "Start", meta["name"])
        return None


class Replica:
    """One manager at work."""

    def __init__(self, manager: Manager, reconciler: OneJobEach, controller: Controller) -> None:
        self.manager, self.reconciler, self.controller = manager, reconciler, controller
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(manager.run(self.stop))

    async def ends(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, 30)

    def crash(self) -> None:
        self.task.cancel()

    def ask(self, path: str) -> tuple[int, str]:
        return get(self.manager.health_port, path)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


@asynccontextmanager
async def replica(server: FaultyApiServer, identity: str = "one", **settings: Any) -> Any:
    metrics = Metrics()
    async with client(server, metrics, request_s=30.0) as api:
        patience = Patience(first=0.01, most=0.05, unserved=0.05, watch=(30, 60), brief=0.001)
        chosen = Settings(LEASE, identity, QUICK, patience, health_host="127.0.0.1", health_port=0, **settings)
        manager = Manager(api, chosen, metrics)
        runs, jobs = manager.follow(MSMRUNS), manager.follow(JOBS)
        manager.follow(PYTORCHJOBS, optional=True)
        reconciler = OneJobEach(manager, runs, jobs)
        controller = manager.control("msmrun", reconciler, runs, related=[(jobs, owner_keys("modelspec.dev/v1alpha1", "MSMRun"))])
        one = Replica(manager, reconciler, controller)
        try:
            yield one
        finally:
            one.crash()
            await asyncio.wait((one.task,))


def cluster(work: Callable[[FaultyApiServer], Awaitable[Any]]) -> None:
    async def main() -> None:
        async with serving() as server:
            server.absent.add("pytorchjobs")
            await work(server)

    asyncio.run(main())


def done(server: FaultyApiServer, *names: str) -> bool:
    return all(server.objects[("msmruns", "team", name)].get("status") == {"job": f"{name}-job"} for name in names)


def writes(server: FaultyApiServer) -> int:
    return sum(asked.method != "GET" and "leases" not in asked.path for asked in server.asked)


def test_what_was_there_and_what_comes_is_reconciled_with_two_writes_and_an_event_each() -> None:
    async def work(server: FaultyApiServer) -> None:
        server.put("msmruns", run("a"))
        async with replica(server) as one:
            await until(lambda: done(server, "a"))
            server.put("msmruns", run("b"))
            await until(lambda: done(server, "b") and sum(key[0] == "events" for key in server.objects) == 2)
            await asyncio.sleep(0.2)
            assert writes(server) == 6
            assert one.reconciler.passes.count("b") <= 3, "the echo of our own writes is not looked at"
            server.remove("jobs", "team", "a-job")
            await until(lambda: ("jobs", "team", "a-job") in server.objects)
            await one.ends()

    cluster(work)


def test_at_rest_it_writes_nothing_but_its_lease() -> None:
    async def work(server: FaultyApiServer) -> None:
        for number in range(20):
            server.put("msmruns", run(f"r{number}"))
        async with replica(server):
            await until(lambda: done(server, *(f"r{number}" for number in range(20))))
            await until(lambda: sum(key[0] == "events" for key in server.objects) == 20)
            before, leases = writes(server), server.count("PUT", "leases")
            await asyncio.sleep(1.0)
            assert writes(server) == before and server.count("PUT", "leases") > leases

    cluster(work)


def test_a_second_replica_is_ready_and_takes_over_soon_after_a_clean_stop() -> None:
    async def work(server: FaultyApiServer) -> None:
        server.put("msmruns", run("a"))
        async with replica(server) as one, replica(server, "two") as two:
            await until(lambda: done(server, "a"))
            leader, other = (one, two) if one.manager.fence.remaining() else (two, one)
            assert other.ask("/readyz") == (200, "ok\n") and other.reconciler.passes == []
            with pytest.raises(NotLeading):
                await other.manager.writer.apply(MSMRUNS, run("a"))
            await leader.ends()
            server.put("msmruns", run("b"))
            await until(lambda: done(server, "b"))
            assert "a" in other.reconciler.passes, "a new leader looks at everything"
            holders = [asked.body["spec"]["holderIdentity"] for asked in server.asked if asked.method == "PUT" and "leases" in asked.path]
            assert "" in holders and holders[-1] == other.manager.settings.identity

    cluster(work)


def test_a_crash_is_followed_by_the_other_replica_when_the_lease_has_run_out() -> None:
    async def work(server: FaultyApiServer) -> None:
        async with replica(server) as one:
            await until(lambda: one.manager.fence.remaining() > 0)
            async with replica(server, "two") as two:
                one.crash()
                server.put("msmruns", run("a"))
                await until(lambda: done(server, "a"))
                assert two.reconciler.passes

    cluster(work)


def test_a_stop_finishes_the_pass_under_way_before_the_lease_is_given_back() -> None:
    async def work(server: FaultyApiServer) -> None:
        async with replica(server) as one:
            one.reconciler.pace = 0.3
            server.put("msmruns", run("a"))
            await until(lambda: one.reconciler.passes)
            await one.ends()
            assert done(server, "a")
            assert any(key[0] == "events" for key in server.objects), "events were sent before the end"
            assert server.objects[("leases", "system", "msm-operator")]["spec"]["holderIdentity"] == ""
            last = [asked for asked in server.asked if asked.method != "GET"][-1]
            assert "leases" in last.path, "nothing is written after the lease is given back"

    cluster(work)


def test_a_stop_does_not_wait_for_ever() -> None:
    async def work(server: FaultyApiServer) -> None:
        async with replica(server, grace_s=0.1) as one:
            one.reconciler.pace = 100.0
            server.put("msmruns", run("a"))
            await until(lambda: one.reconciler.passes)
            await one.ends()
            assert server.objects[("leases", "system", "msm-operator")]["spec"]["holderIdentity"] == ""

    cluster(work)


def test_losing_the_lease_ends_the_work_and_winning_it_again_takes_it_up() -> None:
    async def work(server: FaultyApiServer) -> None:
        async with replica(server) as one:
            await until(lambda: one.manager.fence.remaining() > 0)
            server.fail(Answer(500), "PUT", "leases", times=6)
            await until(lambda: one.manager.fence.remaining() == 0)
            await until(lambda: one.controller.queue is None)
            server.put("msmruns", run("a"))
            await until(lambda: done(server, "a"))

    cluster(work)


def test_it_is_ready_when_its_caches_are_and_says_what_is_missing() -> None:
    async def work(server: FaultyApiServer) -> None:
        server.fail(Answer(403), where="/jobs", times=1000)
        async with replica(server) as one:
            await until(lambda: server.count("GET", "msmruns") >= 2)
            assert await asyncio.to_thread(one.ask, "/readyz") == (503, "not yet listed: jobs\n")
            assert one.manager.fence.remaining() == 0, "nobody leads with half of the caches"
            server.faults.clear()
            await until(lambda: one.manager.fence.remaining() > 0)
            assert (await asyncio.to_thread(one.ask, "/readyz"))[0] == 200
            shown = samples((await asyncio.to_thread(one.ask, "/metrics"))[1])
            assert shown['leader_election_master_status{name="msm-operator"}'] == 1
            assert shown['msm_reflector_objects{resource="jobs"}'] == 0
            assert (await asyncio.to_thread(one.ask, "/nothing"))[0] == 404

    cluster(work)


def test_a_part_that_breaks_ends_the_process_and_the_lease_is_not_left_open() -> None:
    async def work(server: FaultyApiServer) -> None:
        async with replica(server) as one:
            await until(lambda: one.manager.fence.remaining() > 0)

            def broken(key: Key, seconds: float) -> None:
                raise RuntimeError("a mistake in the queue")

            await until(lambda: one.controller.queue is not None)
            one.controller.queue.add_failed = broken  # type: ignore[assignment,method-assign]
            server.fail(Answer(500), "PATCH")
            server.put("msmruns", run("a"))
            with pytest.raises(ExceptionGroup):
                await one.task
            assert one.manager.fence.remaining() == 0

    cluster(work)


def test_no_two_processes_have_one_identity() -> None:
    assert own_identity() != own_identity()


def test_health_answers_while_the_loop_is_stuck_and_says_where() -> None:
    async def main() -> tuple[int, str, int]:
        heartbeat = Heartbeat(every=0.02, limit=0.2)
        server = HealthServer(Checks(heartbeat.trouble, str, str), host="127.0.0.1")
        server.start()
        beating = asyncio.create_task(heartbeat.run())
        try:
            await asyncio.sleep(0.1)
            asked = f"import time,urllib.request as u\ntime.sleep(0.5)\ntry: u.urlopen('http://127.0.0.1:{server.port}/healthz')\n"
            asker = subprocess.Popen([sys.executable, "-c", asked + "except u.HTTPError as e: print(e.code, e.read().decode())"], stdout=-1)
            said, _ = asker.communicate(timeout=20)
            await asyncio.sleep(0.1)
            later, _ = await asyncio.to_thread(get, server.port, "/healthz")
            return int(said.split()[0]), said.decode(), later
        finally:
            beating.cancel()
            server.close()

    stuck, said, later = asyncio.run(main())
    assert stuck == 503 and "the event loop is stuck for" in said and later == 200


PROGRAM = """
import asyncio, sys
from kubernetes.aio.client.configuration import Configuration
from msm_operator.runtime.api import Api
from msm_operator.runtime.connection import Connection
from msm_operator.runtime.manager import Manager, Settings, until_asked
from msm_operator.runtime.metrics import Metrics
from msm_operator.runtime.resources import MSMRUNS
from msm_operator.runtime.seams import Key

async def main():
    metrics = Metrics()
    connection = Connection(Configuration(host=sys.argv[1]), metrics)
    manager = Manager(Api(connection), Settings(Key("system", "msm-operator"), health_host="127.0.0.1", health_port=0), metrics)
    manager.follow(MSMRUNS)
    await until_asked(manager)
    await connection.close()

asyncio.run(main())
loaded = {"torch", "transformers", "mlflow"} & set(sys.modules)
sys.exit(3 if loaded else 0)
"""


def test_sigterm_ends_the_program_in_order() -> None:
    async def work(server: FaultyApiServer) -> None:
        lease = ("leases", "system", "msm-operator")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        program = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, server.url, env=environment, stderr=subprocess.PIPE)
        await until(lambda: lease in server.objects or program.returncode is not None, 60)
        program.send_signal(signal.SIGTERM)
        _, said = await asyncio.wait_for(program.communicate(), 10)
        assert program.returncode == 0, said.decode()
        assert json.dumps(server.objects[lease]["spec"]["holderIdentity"]) == '""'

    cluster(work)
