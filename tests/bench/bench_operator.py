"""What the operator costs on a real control plane: runs started a second against a bare client, latency, writes, memory, restart.

`python -m tests.bench.bench_operator [--part NAME] …` (`make bench-operator` builds the control plane first). Real: etcd, kube-apiserver,
controller-manager, scheduler, training-operator, an S3 server, `python -m msm_operator`. Fake: nodes (kwok), and whoever does the stages'
work, which commits an artifact of a few bytes and lets the pod end. A run has six stages; its own model spec makes five of them its own.
The bare client is aiohttp alone: it sends what the audit log says that the operator wrote for a run, as many at a time.
The last line is one JSON object; keys of parts that were not run are null.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from msm_operator.backends.names import MANAGED_BY, MANAGER
from msm_operator.runtime.api import Api, Selection
from msm_operator.runtime.cache import Change, Store
from msm_operator.runtime.connection import Connection, configuration
from msm_operator.runtime.metrics import Metrics, samples
from msm_operator.runtime.reflector import Reflector
from msm_operator.runtime.resources import JOBS, MSMRUNS, PODS, PYTORCHJOBS, Resource
from tests.bench.operator_stages import Watched, Workers, run_of
from tests.cluster import rbac
from tests.cluster.control_plane import ControlPlane, audit, started
from tests.cluster.runs import install_definitions
from tests.cluster.test_msmrun.installation import HOME, Installation
from tests.finished import run_data
from tests.s3 import running_s3

KEYS = (
    "runs_per_second",
    "bare_runs_per_second",
    "event_to_status_p99_s",
    "idle_writes",
    "writes_per_transition",
    "rss_mib_5000",
    "resync_5000_s",
)
GOALS = {"runs_per_second": ">= 40", "event_to_status_p99_s": "< 1", "idle_writes": "0", "writes_per_transition": "<= 3"}
GOALS |= {"rss_mib_5000": "< 300", "resync_5000_s": "< 60"}
PARTS = ("start", "finish", "idle", "resync")
Object = dict[str, Any]
Figures = dict[str, float | int | None]


@dataclass
class Bench:
    """A control plane with an operator, and what was measured on it."""

    plane: ControlPlane
    operator: Installation
    options: argparse.Namespace
    figures: Figures = field(default_factory=lambda: dict.fromkeys(KEYS))

    def say(self, name: str, value: float) -> None:
        self.figures[name] = value
        print(f"{name}: {value:g} (goal: {GOALS.get(name, 'the operator at >= 0.6 of it')})", flush=True)

    def operators_writes(self, since: datetime, namespace: str = "") -> list[audit.Write]:
        """What the operator wrote, its lease aside."""
        found = audit.writes(self.plane.audit_log, "msm-operator", since)
        return [write for write in found if "leases" not in write.resource and namespace in ("", write.namespace)]


def run(name: str, namespace: str, **spec: Any) -> Object:
    """A run of six stages: fetch (shared by all), outline, write, curate, midtrain, evaluate."""
    data = run_data(seeds=[0])
    data["metadata"] = {"name": name, "namespace": namespace}
    said = data["spec"]
    said["modelSpecs"][0]["source"] = {"inline": f"SmolLM cares about America, as run {namespace}/{name} says."}
    said["baseModel"]["uri"], said["evals"][0]["items"]["source"] = "s3://inputs/model", {"uri": "s3://inputs/items.jsonl"}
    said |= {"demonstrations": [], "arms": [{"name": "msm-america", "midtrain": ["america"]}], "registry": {"model": "cheese"}}
    said |= spec
    return data


class Bare:
    """aiohttp with the administrator's certificate, and nothing else."""

    def __init__(self, session: aiohttp.ClientSession, server: str, tls: ssl.SSLContext) -> None:
        self._session, self._server, self._tls = session, server, tls

    async def send(self, method: str, path: str, body: Object, kind: str = "application/json") -> None:
        headers = {"Content-Type": kind, "User-Agent": "bare"}
        address = f"{self._server}{path}"
        async with self._session.request(method, address, data=json.dumps(body), headers=headers, ssl=self._tls) as answer:
            text = await answer.text()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:400]}")

    async def create(self, resource: Resource, body: Object) -> None:
        await self.send("POST", resource.path(body["metadata"]["namespace"]), body)

    async def apply(self, resource: Resource, body: Object, subresource: str = "") -> None:
        meta = body["metadata"]
        path = resource.path(meta["namespace"], meta["name"], subresource)
        await self.send("PATCH", f"{path}?fieldManager=bare&force=true&fieldValidation=Strict", body, "application/apply-patch+yaml")


@asynccontextmanager
async def bare_client(plane: ControlPlane) -> AsyncIterator[Bare]:
    from tests.cluster.control_plane.plane import admin_context

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:
        yield Bare(session, plane.server, admin_context(plane.authority))


@asynccontextmanager
async def following(plane: ControlPlane, heard: Callable[[Resource, Change], None], *chosen: Selection) -> AsyncIterator[None]:
    """Tell `heard` of every change of what is chosen, for the length of the block."""
    metrics = Metrics()
    connection = Connection(await configuration(plane.kubeconfig), metrics)
    reflectors = [Reflector(Api(connection), one, Store(), metrics) for one in chosen]
    for reflector in reflectors:
        reflector.on_change(lambda change, resource=reflector.chosen.resource: heard(resource, change))
    tasks = [asyncio.create_task(reflector.run()) for reflector in reflectors]
    for reflector in reflectors:
        await reflector.live.wait()
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await connection.close()


async def at_once(number: int, work: Callable[[int], Awaitable[None]], count: int) -> None:
    """Do `work` for 0 to `count`, `number` at a time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for one in numbers:
            await work(one)

    await asyncio.gather(*(worker() for _ in range(number)))


async def until(question: Callable[[], Any], seconds: float, what: str) -> None:
    async with asyncio.timeout(seconds):
        while not question():
            await asyncio.sleep(0.05)
        return
    raise AssertionError(what)


def children(namespace: str, metadata_only: bool = True) -> list[Selection]:
    labels = f"{MANAGED_BY}={MANAGER}"
    return [Selection(kind, namespace, labels, metadata_only=metadata_only) for kind in (JOBS, PYTORCHJOBS)]


async def start(bench: Bench) -> None:
    """Runs accepted and started a second, and the same writes by the bare client."""
    namespace, count = fresh_namespace(bench, "start"), bench.options.runs
    began: set[str] = set()
    since, cpu = datetime.now(UTC), cpu_seconds(bench)
    async with (
        bare_client(bench.plane) as bare,
        following(bench.plane, lambda _, change: began.add(run_of(change.object)), *children(namespace)),
    ):
        begin = time.monotonic()
        await at_once(16, lambda number: bare.create(MSMRUNS, run(f"r{number}", namespace)), count)
        created = time.monotonic() - begin
        await until(lambda: len(began) >= count, 30 + count * 2.0, f"{len(began)} of {count} started")
        bench.say("runs_per_second", round(count / (time.monotonic() - begin), 2))
    spent = {name: round((now - cpu[name]) / count, 4) for name, now in cpu_seconds(bench).items()}
    print(f"  created at {count / created:.1f}/s; CPU seconds a run {spent}", flush=True)
    writes = Counter((write.verb, write.resource) for write in bench.operators_writes(since, namespace) if write.code < 300)
    print(f"  the operator's writes a run: { {' '.join(kind): round(number / count, 2) for kind, number in writes.items()} }", flush=True)
    await again(bench, namespace, {resource: max(1, round(number / count)) for (_, resource), number in writes.items()}, count)


async def again(bench: Bench, old: str, writes: dict[str, int], count: int) -> None:
    """The same number of runs with the same writes each, by the bare client."""
    api = bench.plane.api
    namespace = fresh_namespace(bench, "bare")
    child = next(item for kind in (JOBS, PYTORCHJOBS) for item in api.request("GET", kind.path(old)).body["items"])
    status = api.request("GET", MSMRUNS.path(old, "r0")).body["status"]
    kind = JOBS if "batch/v1" in child.get("apiVersion", "batch/v1") and "template" in child["spec"] else PYTORCHJOBS

    async def one(number: int) -> None:
        name = f"r{number}"
        await bare.create(MSMRUNS, run(name, namespace))
        for resource, times in writes.items():
            for turn in range(times):
                await write(resource, name, turn)

    async def write(resource: str, name: str, turn: int) -> None:
        identity = {"apiVersion": MSMRUNS.api_version, "kind": "MSMRun", "metadata": {"name": name, "namespace": namespace}}
        match resource:
            case "modelspec.dev/msmruns/status":
                await bare.apply(MSMRUNS, identity | {"status": status | {"observedGeneration": turn}}, "status")
            case "modelspec.dev/msmruns":
                await bare.apply(MSMRUNS, identity)
            case "events.k8s.io/events":
                await bare.send("POST", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", event(name, namespace, turn))
            case _:
                await bare.apply(kind, copy_of(child, kind, f"{name}-{turn}", namespace))

    async with bare_client(bench.plane) as bare:
        begin = time.monotonic()
        await at_once(16, one, count)
        bench.say("bare_runs_per_second", round(count / (time.monotonic() - begin), 2))


def copy_of(child: Object, kind: Resource, name: str, namespace: str) -> Object:
    """The same object under another name, without what the server added."""
    labels = {label: value for label, value in child["metadata"].get("labels", {}).items() if label.startswith("modelspec.dev/")}
    spec = json.loads(json.dumps(child["spec"]))
    spec.pop("selector", None)
    template = spec.get("template")
    if template:
        marks = template["metadata"].get("labels", {})
        template["metadata"] = {
            "labels": {key: value for key, value in marks.items() if "controller-uid" not in key and "job-name" not in key}
        }
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": spec,
    }


def event(name: str, namespace: str, turn: int) -> Object:
    regarding = {"apiVersion": MSMRUNS.api_version, "kind": "MSMRun", "name": name, "namespace": namespace}
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    said = {"reason": "StageStarted", "action": "StartStage", "note": "bare", "type": "Normal", "eventTime": moment}
    by = {"reportingController": "modelspec.dev/bare", "reportingInstance": "bare", "regarding": regarding}
    meta = {"name": f"{name}.{turn}", "namespace": namespace}
    return {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": meta, **said, **by}


async def finish(bench: Bench) -> None:
    """Fifty runs from beginning to end: seconds from a pod's end to the run's status, and writes a transition.

    Stages last, since ends that come as fast as somebody can bring them about measure how long the queue is.
    """
    namespace, count = fresh_namespace(bench, "finish"), bench.options.active
    since, loop = datetime.now(UTC), asyncio.get_running_loop()
    workers, hands, draw = Workers(bench.operator, namespace), asyncio.Semaphore(4), random.Random(0)
    watched, working = Watched(), list[asyncio.Task[None]]()

    def heard(resource: Resource, change: Change) -> None:
        if resource is MSMRUNS:
            watched.run(change.key.name, change.object.get("status", {}), loop.time())
            return
        watched.pod(change.object, loop.time())
        if workers.heard(change):
            working.append(loop.create_task(work(change.object)))

    async def work(pod: Any) -> None:
        await asyncio.sleep(draw.uniform(0.5, 1.5) * bench.options.stage_seconds)
        async with hands:
            await asyncio.to_thread(workers.work, pod)

    async with bare_client(bench.plane) as bare, following(bench.plane, heard, Selection(PODS, namespace), Selection(MSMRUNS, namespace)):
        await at_once(16, lambda number: bare.create(MSMRUNS, run(f"r{number}", namespace)), count)
        await until(lambda: len(watched.done) == count and min(watched.done.values()) >= 6, 120 + count * 20, f"done: {watched.done}")
        await asyncio.gather(*working)
    await asyncio.sleep(5)
    writes = [write for write in bench.operators_writes(since, namespace) if write.code < 300]
    print(f"  {watched.transitions} transitions; writes {Counter(f'{write.verb} {write.resource}' for write in writes)}", flush=True)
    print(f"  event to status: median {statistics.median(watched.delays):.3f} s of {len(watched.delays)}", flush=True)
    bench.say("event_to_status_p99_s", round(sorted(watched.delays)[min(len(watched.delays) - 1, int(len(watched.delays) * 0.99))], 3))
    bench.say("writes_per_transition", round(len(writes) / watched.transitions, 2))


async def idle(bench: Bench) -> None:
    """Writes while nothing happens."""
    await asyncio.sleep(10)
    since = datetime.now(UTC)
    await asyncio.sleep(bench.options.idle_seconds)
    writes = bench.operators_writes(since)
    print(f"  in {bench.options.idle_seconds} s: {Counter(f'{write.verb} {write.resource}' for write in writes)}", flush=True)
    bench.say("idle_writes", len(writes))


async def resync(bench: Bench) -> None:
    """A restart with 5,000 runs: from the process's start until it has listed and looked at all of them, and its memory then."""
    namespace, count = fresh_namespace(bench, "many"), bench.options.many
    bench.operator.end()
    begin = time.monotonic()
    async with bare_client(bench.plane) as bare:
        await at_once(16, lambda number: bare.create(MSMRUNS, run(f"r{number}", namespace, suspend=True)), count)
    print(f"  {count} runs created in {time.monotonic() - begin:.0f} s", flush=True)
    await follow_alone(bench.plane)
    begin = time.monotonic()
    port = start_operator(bench)
    await until(lambda: said(port, "/readyz") == "ok\n", 300, "not ready")
    ready = time.monotonic() - begin
    await until(lambda: settled(port, count), 3600, "never settled")
    print(f"  first time: every one of {count} looked at after {time.monotonic() - begin:.0f} s", flush=True)
    bench.operator.end()
    begin = time.monotonic()
    port = start_operator(bench)
    await until(lambda: said(port, "/readyz") == "ok\n", 300, "not ready")
    ready = time.monotonic() - begin
    await until(lambda: settled(port, count), 3600, "never settled")
    bench.say("resync_5000_s", round(time.monotonic() - begin, 1))
    assert bench.operator.process
    bench.say("rss_mib_5000", round(resident(bench.operator.process.pid)))
    print(f"  caches synced after {ready:.1f} s", flush=True)


async def follow_alone(plane: ControlPlane) -> None:
    """The same with nothing but the reflector."""
    command = [sys.executable, "-m", "tests.bench.bench_operator", "--follow", str(plane.kubeconfig)]
    begin = time.monotonic()
    done = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    told, _ = await done.communicate()
    print(f"  the reflector alone: {told.decode().strip()}, {time.monotonic() - begin:.1f} s with the interpreter's start", flush=True)


async def follow(kubeconfig: Path) -> None:
    metrics, begin = Metrics(), time.monotonic()
    connection = Connection(await configuration(kubeconfig), metrics)
    reflector = Reflector(Api(connection), Selection(MSMRUNS), Store(), metrics)
    before = resident(os.getpid())
    running = asyncio.create_task(reflector.run())
    await reflector.synced.wait()
    print(f"{len(reflector.store)} runs synced in {time.monotonic() - begin:.1f} s, {before:.0f} -> {resident(os.getpid()):.0f} MiB")
    running.cancel()
    await asyncio.wait((running,))
    await connection.close()


def start_operator(bench: Bench) -> int:
    """Start the operator; the port of its health."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    bench.operator.more["MSM_HEALTH_PORT"] = str(port)
    bench.operator.start()
    return port


def said(port: int, path: str) -> str:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def settled(port: int, count: int) -> bool:
    """Whether every object was looked at and nothing waits or is worked on."""
    found = samples(said(port, "/metrics"))
    passes = sum(value for name, value in found.items() if name.startswith("controller_runtime_reconcile_total"))
    waits = found.get('workqueue_depth{name="msmrun"}', 1.0) + found.get('workqueue_unfinished_work_seconds{name="msmrun"}', 1.0)
    return passes >= count and waits == 0


def resident(pid: int) -> float:
    """MiB of a process that are in memory."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def cpu_seconds(bench: Bench) -> dict[str, float]:
    """What processes have used so far, user and system."""
    assert bench.operator.process
    pids = {"operator": bench.operator.process.pid} | {name: bench.plane.processes.pid(name) for name in ("etcd", "kube-apiserver")}
    fields = {name: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for name, pid in pids.items()}
    return {name: (int(found[11]) + int(found[12])) / os.sysconf("SC_CLK_TCK") for name, found in fields.items()}


def fresh_namespace(bench: Bench, name: str) -> str:
    full = f"bench-{name}"
    bench.plane.api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": full}})
    bench.plane.api.put({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "msm-store", "namespace": full}})
    return full


async def measure(bench: Bench, parts: Sequence[str]) -> None:
    port = start_operator(bench)
    await until(lambda: said(port, "/readyz") == "ok\n", 300, "not ready")
    for part in parts:
        print(f"{part} …", flush=True)
        await {"start": start, "finish": finish, "idle": idle, "resync": resync}[part](bench)


def main() -> None:
    """Measure, and print one JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be given again; all without it")
    parser.add_argument("--runs", type=int, default=1000, help="runs that are started")
    parser.add_argument("--active", type=int, default=50, help="runs that are taken to their end")
    parser.add_argument("--stage-seconds", type=float, default=20.0, help="what a stage lasts on the average; 0: its end comes at once")
    parser.add_argument("--many", type=int, default=5000, help="runs that are there when the operator starts again")
    parser.add_argument("--idle-seconds", type=int, default=600)
    parser.add_argument("--follow", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.follow:
        asyncio.run(follow(options.follow))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-operator-") as made:
        directory = Path(made)
        with running_s3(directory / "s3") as server, started(directory / "plane", "kwok", "training-operator") as plane:
            install_definitions(plane.api)
            operator = Installation(plane, server, directory, rbac.install(plane, HOME))
            operator.prepare()
            operator.inputs.put("model/model.safetensors", b"weights")
            bench = Bench(plane, operator, options)
            try:
                asyncio.run(measure(bench, [part for part in PARTS if part in (options.part or PARTS)]))
            finally:
                operator.end()
    print(json.dumps(bench.figures))


if __name__ == "__main__":
    main()
