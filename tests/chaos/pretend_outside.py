"""Fakes of everybody else in the cluster: kubelets, Job and training controllers, KServe, the garbage collector, stage programs.

They work in virtual time beside the operator and outlive its crashes. A stage's work is a script: how an attempt ends follows from run,
stage and number alone, so that an undisturbed world and a disturbed one may be compared.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msm.clock import Clock
from msm.plan import Plan, Stage
from msm.store import ObjectStore, StoreConfig
from msm.store.artifacts import read_manifest
from msm_operator.backends.names import ATTEMPT, RUN, RUN_UID, STAGE, STAGE_NAME
from msm_operator.controllers.documents import load, run_id
from tests.chaos.pretend_server import Object, PretendServer
from tests.finished import commit


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ends; with code 0 its artifact is committed."""

    code: int = 0
    message: str = ""
    evicted: bool = False


Script = Callable[[str, str, int], End]
"""(run, stage kind, number) -> how that attempt ends."""


@dataclass(slots=True)
class Outside:
    """Everybody else."""

    server: PretendServer
    store: ObjectStore
    config: StoreConfig
    directory: Path
    clock: Clock
    rng: random.Random
    script: Script
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    born: list[tuple[str, str, int]] = field(default_factory=list)
    """(run's uid, stage, number) of each child as it was made."""
    wrong: list[str] = field(default_factory=list)
    """What must never be: two living children of a stage, one number twice, an attempt at what is committed."""
    _plans: dict[str, Plan] = field(default_factory=dict)

    def heard(self, type_: str, plural: str, obj: Object) -> None:
        """After each change of the server."""
        if type_ == "DELETED":
            self._soon(self._collect(obj["metadata"]["uid"]))
        elif type_ == "ADDED" and plural in ("jobs", "pytorchjobs"):
            self._note(obj)
            self._soon(self._live(plural, obj))
        elif type_ == "ADDED" and plural == "inferenceservices":
            self._soon(self._serve(obj))

    def _soon(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.wrong.append(f"the fake failed: {task.exception()!r}")

    def _note(self, job: Object) -> None:
        labels = job["metadata"]["labels"]
        child = (labels[RUN_UID], labels[STAGE], int(labels[ATTEMPT]))
        what = f"{labels[RUN]} {job['metadata']['annotations'][STAGE_NAME]} attempt {labels[ATTEMPT]}"
        if child in self.born:
            self.wrong.append(f"made twice: {what}")
        if any(self._lives(other) and _child(other)[:2] == child[:2] for other in self._jobs() if other is not job):
            self.wrong.append(f"two live at once: {what}")
        stage = self._stage(job)
        if stage is None:
            self.wrong.append(f"no plan: {what}")
        elif read_manifest(self.store, stage.kind, stage.fingerprint) is not None:
            self.wrong.append(f"committed already: {what}")
        self.born.append(child)

    def _jobs(self) -> Iterator[Object]:
        yield from (obj for key, obj in list(self.server.objects.items()) if key[0] in ("jobs", "pytorchjobs"))

    def _lives(self, job: Object) -> bool:
        return "deletionTimestamp" not in job["metadata"] and not job.get("status", {}).get("conditions")

    def _stage(self, job: Object) -> Stage | None:
        labels = job["metadata"]["labels"]
        id_ = run_id(labels[RUN], labels[RUN_UID])
        if id_ not in self._plans:
            documents = load(self.store, self.config, id_)
            if documents is None:
                return None
            self._plans[id_] = documents.plan
        return next(s for s in self._plans[id_].stages if s.fingerprint.startswith(labels[STAGE]))

    async def _collect(self, uid: str) -> None:
        """The garbage collector."""
        await asyncio.sleep(self.rng.uniform(0.2, 2.0))
        for key, obj in list(self.server.objects.items()):
            if key in self.server.objects and any(ref["uid"] == uid for ref in obj["metadata"].get("ownerReferences", ())):
                self.server.delete(*key)

    async def _live(self, plural: str, job: Object) -> None:
        """A job's life: its pod is made, runs, does the work, ends, and the job's controller says so."""
        rng, labels, stage = self.rng, job["metadata"]["labels"], self._stage(job)
        for phase in ("Pending", "Running"):
            await asyncio.sleep(rng.uniform(0.2, 2.0))
            if not self._is_there(plural, job):
                return
            self._pod(job, {"phase": phase})
        await asyncio.sleep(rng.uniform(2.0, 15.0))
        if not self._is_there(plural, job) or stage is None:
            return
        end = self.script(labels[RUN], stage.kind, int(labels[ATTEMPT]))
        if end.code == 0 and read_manifest(self.store, stage.kind, stage.fingerprint) is None:
            plan = self._plans[run_id(labels[RUN], labels[RUN_UID])]
            commit(self.store, plan, stage, self.clock, 2.0, 240, self.directory)  # type: ignore[arg-type]
        self._pod(job, self._over(end))
        await asyncio.sleep(rng.uniform(0.1, 2.0))
        if self._is_there(plural, job):
            type_ = "Failed" if end.code else "Complete" if plural == "jobs" else "Succeeded"
            condition = {"type": type_, "status": "True", "lastTransitionTime": self.server.stamp()}
            self.server.put(plural, {**self.server.objects[_key(plural, job)], "status": {"conditions": [condition]}})

    def _is_there(self, plural: str, job: Object) -> bool:
        found = self.server.objects.get(_key(plural, job))
        return found is not None and found["metadata"]["uid"] == job["metadata"]["uid"] and "deletionTimestamp" not in found["metadata"]

    def _over(self, end: End) -> Object:
        terminated = {"exitCode": end.code, "finishedAt": self.server.stamp(), "message": end.message}
        status: Object = {"phase": "Failed" if end.code else "Succeeded"}
        status["containerStatuses"] = [{"name": "pytorch", "state": {"terminated": terminated}}]
        if end.evicted:
            target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}
            status["conditions"] = [{**target, "lastTransitionTime": self.server.stamp()}]
        return status

    def _pod(self, job: Object, status: Object) -> None:
        meta = job["metadata"]
        owner = {"apiVersion": job["apiVersion"], "kind": job["kind"], "name": meta["name"], "uid": meta["uid"], "controller": True}
        metadata = {"name": f"{meta['name']}-0", "namespace": meta["namespace"], "labels": meta["labels"], "ownerReferences": [owner]}
        self.server.put("pods", {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status})

    async def _serve(self, service: Object) -> None:
        """KServe: a Deployment, and after a while the word that it is ready."""
        await asyncio.sleep(self.rng.uniform(2.0, 20.0))
        key = _key("inferenceservices", service)
        if key not in self.server.objects or self.server.objects[key]["metadata"]["uid"] != service["metadata"]["uid"]:
            return
        meta = service["metadata"]
        owner = {"apiVersion": service["apiVersion"], "kind": service["kind"], "name": meta["name"], "uid": meta["uid"]}
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "observedGeneration"), 1)
        metadata = {
            "name": f"{meta['name']}-predictor",
            "namespace": meta["namespace"],
            "labels": meta["labels"],
            "ownerReferences": [owner],
        }
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": 1}, "status": counts}
        self.server.put("deployments", body)
        conditions = [{"type": "PredictorReady", "status": "True"}]
        self.server.put("inferenceservices", {**self.server.objects[key], "status": {"conditions": conditions}})


def _key(plural: str, obj: Object) -> tuple[str, str, str]:
    return (plural, obj["metadata"]["namespace"], obj["metadata"]["name"])


def _child(job: Object) -> tuple[str, str, int]:
    labels = job["metadata"]["labels"]
    return (labels[RUN_UID], labels[STAGE], int(labels[ATTEMPT]))
