"""A fake: an API server, a kubelet and the other controllers in one dict, for tests of what the MSMRun controller decides.

Not a control plane: no schema, no admission, no watch. `apply` upserts as server-side apply by one manager does (what was applied before
and is absent now is removed), `delete` removes an object and, like the garbage collector, what it owns. Tests of the real thing lie in
tests/cluster.
"""

import asyncio
import copy
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msm.plan import Plan, Stage
from msm.resolve.clients import Clients, Hub
from msm.store import ObjectStore, StoreConfig, open_store
from msm_operator.backends.installation import Installation
from msm_operator.backends.names import ATTEMPT, STAGE
from msm_operator.controllers.background import Background
from msm_operator.controllers.documents import Documents, Stores, load, run_id
from msm_operator.controllers.msmrun import MSMRunReconciler
from msm_operator.controllers.rooms import Caches, Installed, Rooms
from msm_operator.controllers.tracking import Tracker
from msm_operator.runtime.resources import (
    DEPLOYMENTS,
    INFERENCESERVICES,
    JOBS,
    MSMRUNS,
    PODS,
    PYTORCHJOBS,
    Resource,
)
from msm_operator.runtime.seams import Key
from tests.finished import commit, items, lines, run_data

CHAIN: dict[str, Any] = {"arms": [{"name": "base"}], "corpora": [], "demonstrations": [], "modelSpecs": [], "registry": {"model": "x"}}
"""A run of two stages, the second of which needs the first."""
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMESPACE = "team"


@dataclass
class FakeClock:
    """The test's clock: stands still until moved."""

    at: datetime = START

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    def __call__(self, seconds: float) -> None:
        self.sleep(seconds)


@dataclass
class CommitClock:
    """The stages' clock: each look costs a millisecond, so that attempts have different ids."""

    clock: FakeClock
    looks: int = 0

    def now(self) -> datetime:
        self.looks += 1
        return self.clock.at + timedelta(milliseconds=self.looks)

    def monotonic(self) -> float:
        return self.now().timestamp()

    def sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)


@dataclass
class Cluster:
    """All objects by (plural, namespace, name), and a log of writes."""

    clock: FakeClock = field(default_factory=FakeClock)
    objects: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    writes: list[tuple[str, str, str]] = field(default_factory=list)
    events: list[tuple[str, str, str, str]] = field(default_factory=list)
    refuse: dict[str, Exception] = field(default_factory=dict)
    """Kind -> what applying it raises."""
    serial: int = 0

    def cache(self, resource: Resource) -> "FakeCache":
        return FakeCache(self, resource)

    def put(self, resource: Resource, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create or replace, as a user or another controller would."""
        meta = body["metadata"]
        key = (resource.plural, meta.get("namespace", ""), meta["name"])
        self.serial += 1
        before = self.objects.get(key, {}).get("metadata", {})
        found = copy.deepcopy(dict(body))
        found["metadata"] = {
            "uid": f"00000000-0000-4000-8000-{self.serial:012d}",
            "creationTimestamp": self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "generation": 1,
            **{name: before[name] for name in ("uid", "creationTimestamp", "generation") if name in before},
            **found["metadata"],
            "resourceVersion": str(self.serial),
        }
        self.objects[key] = found
        return found

    async def apply(self, resource: Resource, body: Mapping[str, Any], *, status: bool = False) -> Mapping[str, Any]:
        if resource.kind in self.refuse:
            raise self.refuse[resource.kind]
        meta = body["metadata"]
        key = (resource.plural, meta["namespace"], meta["name"])
        self.writes.append(("status" if status else "apply", resource.kind, meta["name"]))
        before = self.objects.get(key)
        json.dumps(body)
        if status:
            assert before is not None, "status of an absent object"
            return self.put(resource, {**before, "status": json.loads(json.dumps(body["status"]))})
        if before is None:
            assert "uid" not in meta, "an apply with a uid makes nothing"
            return self.put(resource, json.loads(json.dumps(body)))
        merged = {**before, **{k: v for k, v in body.items() if k != "metadata"}}
        merged["metadata"] = {**{k: v for k, v in before["metadata"].items() if k != "finalizers"}, **meta}
        return self.put(resource, merged)

    async def delete(self, resource: Resource, key: Key, *, uid: str | None, propagation: str = "Background") -> None:
        found = self.objects.get((resource.plural, *key))
        if found is None or (uid is not None and found["metadata"]["uid"] != uid):
            return
        self.writes.append(("delete", resource.kind, key.name))
        self.remove(resource, key)

    def remove(self, resource: Resource, key: Key) -> None:
        """Delete with everything that is owned; a finalizer holds it."""
        found = self.objects[(resource.plural, *key)]
        if found["metadata"].get("finalizers"):
            found["metadata"]["deletionTimestamp"] = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
            return
        del self.objects[(resource.plural, *key)]
        for other in [k for k, o in self.objects.items() if found["metadata"]["uid"] in _owners(o)]:
            if other in self.objects:
                self.remove(Resource("", "v1", other[0], self.objects[other]["kind"]), Key(other[1], other[2]))

    async def event(self, about: Mapping[str, Any], type: str, reason: str, action: str, note: str) -> None:
        self.events.append((type, reason, action, note))

    async def get(self, resource: Resource, key: Key) -> Mapping[str, Any] | None:
        return self.objects.get((resource.plural, *key))

    def of(self, resource: Resource) -> list[dict[str, Any]]:
        return [o for (plural, _, _), o in sorted(self.objects.items()) if plural == resource.plural]


def _owners(obj: Mapping[str, Any]) -> list[str]:
    return [ref["uid"] for ref in obj["metadata"].get("ownerReferences", ())]


@dataclass
class FakeCache:
    """The cluster's objects of one kind, always up to date."""

    cluster: Cluster
    resource: Resource

    def get(self, key: Key) -> Mapping[str, Any] | None:
        found = self.cluster.objects.get((self.resource.plural, *key))
        return copy.deepcopy(found)

    def owned_by(self, uid: str) -> list[Mapping[str, Any]]:
        return [copy.deepcopy(o) for o in self.cluster.of(self.resource) if uid in _owners(o)]

    def all(self) -> Iterable[Mapping[str, Any]]:
        return copy.deepcopy(self.cluster.of(self.resource))


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    size: int
    etag: str


@dataclass
class Bucket:
    """Objects of a bucket."""

    objects: dict[str, bytes]

    def get(self, key: str) -> bytes:
        return self.objects[key]

    def download(self, key: str, target: Path) -> None:
        target.write_bytes(self.objects[key])

    def list(self, prefix: str) -> Iterator[Entry]:
        return (Entry(key, len(data), "tag") for key, data in self.objects.items() if key.startswith(prefix))


def msm_run(name: str = "example", **spec: Any) -> dict[str, Any]:
    """A run that a cluster accepts; its inputs lie in the fake bucket."""
    data = run_data(seeds=[0])
    data["metadata"] = {"name": name, "namespace": NAMESPACE}
    data["spec"]["baseModel"]["uri"] = "s3://inputs/model"
    data["spec"]["evals"][0]["items"]["source"] = {"uri": "s3://inputs/items.jsonl"}
    data["spec"] |= spec
    return data


def local_queue(name: str) -> dict[str, Any]:
    """A queue of the namespace."""
    return {"kind": "LocalQueue", "metadata": {"name": name, "namespace": NAMESPACE}}


class Workshop:
    """A controller over a fake cluster and a real file store; the test plays everybody else."""

    def __init__(self, directory: Path, installation: Installation | None = None, **changes: Any) -> None:
        self.directory, self.cluster = directory, Cluster()
        self.clock = self.cluster.clock
        self.config = StoreConfig(f"file://{directory}/store")
        self.installation = installation or Installation(image="trainer:1", store=self.config, **changes)
        self.bucket = Bucket({"items.jsonl": lines(items()), "model/model.safetensors": b"weights"})
        self.woken: list[Key] = []
        self.training, self.serving = True, True
        self.hub: Hub | None = None
        self.opener = open_store
        self.reconciler = self.make()
        self.commit_clock = CommitClock(self.clock)

    def make(self) -> MSMRunReconciler:
        """A fresh controller, as after a restart."""
        background = Background(self.woken.append, ThreadPoolExecutor(1), ThreadPoolExecutor(1))
        cluster = self.cluster
        kinds = (MSMRUNS, JOBS, PYTORCHJOBS, PODS, INFERENCESERVICES, DEPLOYMENTS)
        return MSMRunReconciler(
            Rooms(
                caches=Caches(*(cluster.cache(kind) for kind in kinds)),
                writer=cluster,
                get=cluster.get,
                installed=Installed(lambda: self.training, lambda: self.serving),
                installation=self.installation,
                stores=Stores(self.clock, lambda config: self.opener(config)),
                background=background,
                tracker=Tracker(self.clock, self.woken.append, {}),
                clients=lambda config: Clients(self.directory / "cache", hub=self.hub, bucket=lambda name: self.bucket),
                clock=self.clock,
                cache_directory=self.directory / "cache",
                rng=random.Random(0),
            )
        )

    def submit(self, data: dict[str, Any]) -> dict[str, Any]:
        return self.cluster.put(MSMRUNS, data)

    def run_object(self, name: str = "example") -> dict[str, Any]:
        return self.cluster.objects[("msmruns", NAMESPACE, name)]

    def reconcile(self, name: str = "example") -> timedelta | None:
        """One pass, and those that long work in threads asks for."""

        async def passes() -> timedelta | None:
            delay = await self.reconciler.reconcile(Key(NAMESPACE, name))
            for _ in range(50):
                running = self.reconciler.rooms.background._running
                if not running:
                    break
                while not all(future.done() for future in running.values()):
                    await asyncio.sleep(0.002)
                await asyncio.sleep(0)
                delay = await self.reconciler.reconcile(Key(NAMESPACE, name))
            return delay

        return asyncio.run(passes())

    def status(self, name: str = "example") -> dict[str, Any]:
        return self.run_object(name).get("status", {})

    def condition(self, type_: str, name: str = "example") -> dict[str, Any]:
        return next((c for c in self.status(name).get("conditions", ()) if c["type"] == type_), {})

    def change(self, name: str = "example", **spec: Any) -> None:
        """Edit the spec."""
        obj = self.run_object(name)
        meta = {**obj["metadata"], "generation": obj["metadata"]["generation"] + 1}
        self.cluster.put(MSMRUNS, {**obj, "metadata": meta, "spec": {**obj["spec"], **spec}})

    @property
    def store(self) -> ObjectStore:
        return open_store(self.config)

    def documents(self, name: str = "example") -> Documents:
        found = load(self.store, self.config, run_id(name, self.run_object(name)["metadata"]["uid"]))
        assert found is not None
        return found

    @property
    def plan(self) -> Plan:
        return self.documents().plan

    def jobs(self) -> list[dict[str, Any]]:
        """Jobs and PyTorchJobs that have not ended."""
        found = self.cluster.of(JOBS) + self.cluster.of(PYTORCHJOBS)
        return [
            j for j in found if not any(c["type"] in ("Complete", "Succeeded", "Failed") for c in j.get("status", {}).get("conditions", ()))
        ]

    def stage_of(self, job: Mapping[str, Any]) -> Stage:
        return next(s for s in self.plan.stages if s.fingerprint.startswith(job["metadata"]["labels"][STAGE]))

    def pod(self, job: Mapping[str, Any], phase: str = "Running", name: str = "", **status: Any) -> dict[str, Any]:
        """The job's pod, as a kubelet would report it."""
        meta = job["metadata"]
        body = {
            "kind": "Pod",
            "metadata": {
                "name": name or f"{meta['name']}-0",
                "namespace": NAMESPACE,
                "labels": meta["labels"],
                "ownerReferences": [{"uid": meta["uid"], "kind": job["kind"], "name": meta["name"]}],
            },
            "status": {"phase": phase, **status},
        }
        return self.cluster.put(PODS, body)

    def end(self, job: dict[str, Any], code: int = 0, reason: str = "", message: str = "", pod: str = "") -> None:
        """The pod ends with a code, and the job's controller notices."""
        terminated = {"exitCode": code, "finishedAt": self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"), "reason": reason, "message": message}
        statuses = [{"name": "pytorch", "state": {"terminated": terminated}}]
        self.pod(job, "Failed" if code else "Succeeded", pod, containerStatuses=statuses)
        self.conclude(job, failed=bool(code))

    def conclude(self, job: dict[str, Any], failed: bool) -> None:
        type_ = "Failed" if failed else "Complete" if job["kind"] == "Job" else "Succeeded"
        condition = {"type": type_, "status": "True", "lastTransitionTime": self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")}
        self.cluster.put(JOBS if job["kind"] == "Job" else PYTORCHJOBS, {**job, "status": {"conditions": [condition]}})

    def commit(self, stage: Stage) -> None:
        """What the stage program does last."""
        commit(self.store, self.plan, stage, self.commit_clock, 2.0, 240, self.directory)  # type: ignore[arg-type]

    def do(self, job: dict[str, Any]) -> None:
        """A stage's pod does its work."""
        self.commit(self.stage_of(job))
        self.end(job)

    def finish(self, name: str = "example", passes: int = 60) -> None:
        """Do everything that comes until the run has ended."""
        for _ in range(passes):
            self.clock(1)
            self.reconcile(name)
            if {self.condition(t, name).get("status") for t in ("Succeeded", "Failed")} & {"True"}:
                return
            for job in self.jobs():
                self.do(job)
        raise AssertionError(f"not over after {passes} passes: {self.status(name)}")

    def attempts(self) -> list[tuple[str, int]]:
        """(stage, attempt) of every job that is there."""
        jobs = self.cluster.of(JOBS) + self.cluster.of(PYTORCHJOBS)
        return sorted((self.stage_of(j).name, int(j["metadata"]["labels"][ATTEMPT])) for j in jobs)
