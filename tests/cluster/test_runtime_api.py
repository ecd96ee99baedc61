"""The operator's client on a real API server: what it calls errors, strict apply, preconditions, pages, watches, events."""

import asyncio
import json
import queue
import random
import threading
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from msm_operator.runtime import errors
from msm_operator.runtime.api import Api, Selection
from msm_operator.runtime.cache import Change, Store, key_of
from msm_operator.runtime.connection import Connection, configuration
from msm_operator.runtime.events import EventRate, Recorder
from msm_operator.runtime.leader import Fence
from msm_operator.runtime.metrics import Metrics
from msm_operator.runtime.reflector import Patience, Reflector
from msm_operator.runtime.resources import CONFIGMAPS, EVENTS, INFERENCESERVICES, JOBS
from msm_operator.runtime.seams import Key
from tests.cluster.control_plane import ControlPlane

QUICK = Patience(first=0.1, most=1.0, watch=(2, 4), brief=0.01)


@asynccontextmanager
async def client(kubeconfig: Path, host: str = "") -> AsyncIterator[Api]:
    """A client with the identity of `kubeconfig`; `host` where it is to go another way."""
    settings = await configuration(kubeconfig)
    settings.host = host or settings.host
    connection = Connection(settings, Metrics())
    try:
        yield Api(connection)
    finally:
        await connection.close()


def talk(kubeconfig: Path, work: Callable[[Api], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with client(kubeconfig) as api:
            return await work(api)

    return asyncio.run(main())


def configmap(namespace: str, name: str = "one", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def job(namespace: str, name: str = "one") -> dict[str, Any]:
    container = {"name": "main", "image": "example.invalid/none:1"}
    spec = {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def test_an_apply_is_strict_repeatable_and_takes_back_what_it_no_longer_says(control_plane: ControlPlane, namespace: str) -> None:
    async def work(api: Api) -> None:
        first = await api.apply(CONFIGMAPS, configmap(namespace, a="1", b="2"))
        again = await api.apply(CONFIGMAPS, configmap(namespace, a="1", b="2"))
        assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"], "applied twice is no change"
        with pytest.raises(errors.Invalid, match="unknownField"):
            wrong = job(namespace, "two")
            wrong["spec"]["unknownField"] = 1
            await api.apply(JOBS, wrong)
        with pytest.raises(errors.Invalid) as refused:
            invalid = job(namespace, "three")
            invalid["spec"]["template"]["spec"]["restartPolicy"] = "Always"
            await api.apply(JOBS, invalid)
        assert refused.value.causes[0].field == "spec.template.spec.restartPolicy"
        assert (await api.apply(CONFIGMAPS, configmap(namespace, a="1")))["data"] == {"a": "1"}

    talk(control_plane.kubeconfig, work)


def test_a_status_apply_changes_nothing_but_the_status(control_plane: ControlPlane, namespace: str) -> None:
    async def work(api: Api) -> None:
        before = await api.apply(JOBS, job(namespace))
        identity = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "one", "namespace": namespace}}
        after = await api.apply(JOBS, identity | {"status": {"conditions": [{"type": "Ours", "status": "True"}]}}, status=True)
        assert after["spec"] == before["spec"] and "Ours" in [one["type"] for one in after["status"]["conditions"]]
        assert after["metadata"]["generation"] == before["metadata"]["generation"]

    talk(control_plane.kubeconfig, work)


def test_what_another_has_replaced_is_neither_written_nor_deleted(control_plane: ControlPlane, namespace: str) -> None:
    async def work(api: Api) -> None:
        stored = await api.apply(CONFIGMAPS, configmap(namespace, a="1"))
        key = key_of(stored)
        pinned = configmap(namespace, a="2")
        pinned["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555"
        with pytest.raises(errors.Conflict):
            await api.apply(CONFIGMAPS, pinned)
        with pytest.raises(errors.Conflict):
            await api.delete(CONFIGMAPS, key, uid=pinned["metadata"]["uid"])
        absent = configmap(namespace, "absent", a="2")
        absent["metadata"]["uid"] = stored["metadata"]["uid"]
        with pytest.raises(errors.Conflict):
            await api.apply(CONFIGMAPS, absent)
        newer = await api.apply(CONFIGMAPS, configmap(namespace, a="3"))
        old = configmap(namespace, a="4")
        old["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
        with pytest.raises(errors.Conflict):
            await api.apply(CONFIGMAPS, old)
        with pytest.raises(errors.Conflict):
            await api.replace(CONFIGMAPS, old)
        with pytest.raises(errors.AlreadyExists):
            await api.create(CONFIGMAPS, configmap(namespace))
        await api.delete(CONFIGMAPS, key, uid=newer["metadata"]["uid"])
        with pytest.raises(errors.NotFound):
            await api.delete(CONFIGMAPS, key)

    talk(control_plane.kubeconfig, work)


def test_who_may_nothing_is_told_so(control_plane: ControlPlane, namespace: str) -> None:
    async def work(api: Api) -> None:
        with pytest.raises(errors.Forbidden, match="cannot get resource"):
            await api.get(CONFIGMAPS, Key(namespace, "one"))

    talk(control_plane.user("nobody"), work)


def test_a_kind_that_is_not_installed_is_absent(control_plane: ControlPlane) -> None:
    async def work(api: Api) -> None:
        with pytest.raises(errors.NotFound):
            await api.page(Selection(INFERENCESERVICES))

    if "kserve" not in control_plane._addons:
        talk(control_plane.kubeconfig, work)


def test_pages_have_every_object_once_and_a_version_from_the_future_is_gone(control_plane: ControlPlane, namespace: str) -> None:
    async def work(api: Api) -> None:
        for number in range(25):
            await api.create(CONFIGMAPS, configmap(namespace, f"c{number}"))
        chosen, names, following = Selection(CONFIGMAPS, namespace), [], ""
        while not names or following:
            page = await api.page(chosen, following=following, limit=10)
            names += [key_of(item).name for item in page.items]
            following = page.following
        assert sorted(name for name in names if name.startswith("c")) == sorted(f"c{number}" for number in range(25))
        assert page.items[0]["kind"] == "ConfigMap"
        with pytest.raises(errors.Gone):
            await api.page(chosen, at_least=str(10**15))

    talk(control_plane.kubeconfig, work)


def test_metadata_only_brings_no_contents_in_lists_and_watches(control_plane: ControlPlane, namespace: str) -> None:
    async def work(api: Api) -> None:
        await api.create(CONFIGMAPS, configmap(namespace, "before", secret="x" * 1000))
        chosen = Selection(CONFIGMAPS, namespace, metadata_only=True)
        page = await api.page(chosen)
        assert all("data" not in item for item in page.items) and page.items
        async with api.watch(chosen, page.resource_version, seconds=10) as events:
            await api.create(CONFIGMAPS, configmap(namespace, "after", secret="x" * 1000))
            event = await anext(events)
        assert (event.type, event.object["metadata"]["name"], "data" in event.object) == ("ADDED", "after", False)

    talk(control_plane.kubeconfig, work)


def test_events_are_taken_and_counted(control_plane: ControlPlane, namespace: str) -> None:
    async def work(api: Api) -> None:
        fence = Fence()
        fence.open_until(1e12)
        recorder = Recorder(api, fence, Metrics(), controller="modelspec.dev/msm-operator", instance="pod-0", rate=EventRate(repeat=0.2))
        about = await api.create(CONFIGMAPS, configmap(namespace))
        running = asyncio.create_task(recorder.run())
        for _ in range(5):
            recorder.record(about, "Warning", "StageFailed", "RetryStage", "midtrain-1: out of memory")
        await asyncio.sleep(1)
        await recorder.flush()
        running.cancel()
        [event] = (await api.page(Selection(EVENTS, namespace))).items
        assert event["series"]["count"] == 5 and event["regarding"]["uid"] == about["metadata"]["uid"]

    talk(control_plane.kubeconfig, work)
    told = control_plane.api.kubectl("events", "--for=configmap/one", "-n", namespace)
    assert "StageFailed" in told and "midtrain-1: out of memory" in told and "x5" in told


class Way:
    """A TCP way to the server that a test can cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.closed = False
        self.host = ""

    async def __aenter__(self) -> "Way":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.host = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Break every connection and let no new one through."""
        self.closed = True
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _connected(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        if self.closed:
            back.transport.abort()
            return
        far, on = await asyncio.open_connection("127.0.0.1", self._port)
        self._open += [back, on]
        await asyncio.gather(_copy(near, on), _copy(far, back))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while chunk := await source.read(1 << 16):
            sink.write(chunk)
            await sink.drain()
        sink.close()
    except OSError:
        return


class Followed:
    """A reflector of one namespace's ConfigMaps beside the truth."""

    def __init__(self, api: Api, truth: Api, namespace: str) -> None:
        self.truth, self.chosen = truth, Selection(CONFIGMAPS, namespace)
        self.metrics, self.heard = Metrics(), []
        self.reflector = Reflector(api, self.chosen, Store(), self.metrics, patience=QUICK, rng=random.Random(0))
        self.reflector.on_change(self.heard.append)

    heard: list[Change]

    async def equal(self) -> bool:
        there = {key_of(item): item["metadata"]["resourceVersion"] for item in (await self.truth.page(self.chosen)).items}
        store = self.reflector.store
        return {key: store.version(key) for key in store.keys()} == there  # noqa: SIM118

    async def ends_equal(self, seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not await self.equal():
                await asyncio.sleep(0.05)

    def count(self, name: str, **labels: str) -> float:
        return sum(
            float(line.rpartition(" ")[2])
            for line in self.metrics.text().splitlines()
            if line.startswith(name) and all(f'{key}="{value}"' in line for key, value in labels.items())
        )


MainThread = Callable[[Callable[[], None]], Awaitable[None]]


def beside(work: Callable[[MainThread], Awaitable[None]]) -> None:
    """Run `work` on a loop in a thread, and what it hands over in this one: servers must not be children of a thread that ends."""
    handed: queue.Queue[tuple[Callable[[], None], threading.Event] | None] = queue.Queue()

    async def here(task: Callable[[], None]) -> None:
        done = threading.Event()
        handed.put((task, done))
        await asyncio.to_thread(done.wait)

    async def main() -> None:
        await work(here)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asyncio.run, main())
        running.add_done_callback(lambda _: handed.put(None))
        while one := handed.get():
            one[0]()
            one[1].set()
        running.result()


def test_the_reflector_survives_a_restart_of_the_api_server(control_plane: ControlPlane, namespace: str) -> None:
    async def main(here: MainThread) -> None:
        async with client(control_plane.kubeconfig) as api, client(control_plane.kubeconfig) as truth:
            seen = Followed(api, truth, namespace)
            running = asyncio.create_task(seen.reflector.run())
            await truth.create(CONFIGMAPS, configmap(namespace, "before"))
            await seen.ends_equal()
            await seen.reflector.live.wait()
            await here(lambda: control_plane.restart_api_server(kill=True))
            await truth.create(CONFIGMAPS, configmap(namespace, "after"))
            await truth.delete(CONFIGMAPS, Key(namespace, "before"))
            await seen.ends_equal()
            assert seen.heard[-1].type in ("added", "deleted") and seen.reflector.live.is_set()
            running.cancel()

    beside(main)


def test_the_reflector_lists_again_when_its_place_in_history_was_compacted(control_plane: ControlPlane, namespace: str) -> None:
    port = int(control_plane.server.rpartition(":")[2])

    async def main(here: MainThread) -> None:
        async with Way(port) as way, client(control_plane.kubeconfig, way.host) as api, client(control_plane.kubeconfig) as truth:
            seen = Followed(api, truth, namespace)
            running = asyncio.create_task(seen.reflector.run())
            for name in ("stays", "goes"):
                await truth.create(CONFIGMAPS, configmap(namespace, name, about=name))
            await seen.ends_equal()
            way.cut()
            await until(lambda: not seen.reflector.live.is_set())
            await truth.delete(CONFIGMAPS, Key(namespace, "goes"))
            for number in range(5):
                await truth.apply(CONFIGMAPS, configmap(namespace, "stays", about=f"{number}"))
            await asyncio.to_thread(compact, control_plane, (await truth.page(seen.chosen)).resource_version)
            await here(control_plane.restart_api_server)
            way.closed = False
            await seen.ends_equal()
            gone = [change for change in seen.heard if change.key.name == "goes"]
            assert [(change.type, change.object["data"]) for change in gone] == [
                ("added", {"about": "goes"}),
                ("deleted", {"about": "goes"}),
            ]
            assert seen.count("msm_reflector_failures_total", reason="Expired") >= 1
            assert seen.count("msm_reflector_lists_total") == 2
            running.cancel()

    beside(main)


def compact(plane: ControlPlane, revision: str) -> None:
    """Have etcd forget everything before `revision`."""
    body = json.dumps({"revision": revision, "physical": True}).encode()
    address = f"http://127.0.0.1:{plane.processes.port('etcd')}/v3/kv/compaction"
    with urllib.request.urlopen(urllib.request.Request(address, body), timeout=30) as answer:
        assert answer.status == 200
