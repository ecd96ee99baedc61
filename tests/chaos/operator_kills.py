"""Real SIGKILLs of a real operator: two replicas on a real control plane with a lease of 3 s, whose API server is restarted now and then.

Real: etcd, API server, controllers, training operator, S3, both replicas. Fake: nodes, and whoever does the stages' work (see
tests/cluster). A kill comes at a drawn moment, mostly to whoever leads, sometimes to both; the dead are started again. Meanwhile runs of
several kinds come, are suspended, resumed and deleted. Cost: a replica's start is 3 s of CPU, so about ten minutes on two busy cores.
"""

import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import urllib3

from msm.clock import SystemClock
from msm.errors import MSMError
from msm.store.artifacts import read_manifest
from msm_operator.backends.names import ATTEMPT, RUN, RUN_UID, STAGE
from msm_operator.controllers.documents import Documents, load, run_id
from tests.chaos.operator_verdict import OperatorVerdict
from tests.cluster import rbac
from tests.cluster.control_plane import ControlPlane, audit, started
from tests.cluster.control_plane.client import Refused
from tests.cluster.runs import install_definitions
from tests.cluster.test_msmrun.installation import CODE, HOME, TINY, Installation
from tests.finished import commit, run_data
from tests.s3 import running_s3

Say = Callable[[str], None]
Object = dict[str, Any]
NAMESPACE = "kills"
KILLS_A_RESTART = 8
"""The API server is restarted after so many kills."""
AT_ONCE = 4
"""Runs under way at a time."""
END_SECONDS = 420.0
LEADS_SECONDS = 240.0
"""Somebody must lead by then; on a busy machine a process alone takes a minute to start."""
KINDS = ("batch/v1", "jobs"), ("kubeflow.org/v1", "pytorchjobs")
OUTAGES = (urllib3.exceptions.HTTPError, OSError, MSMError, Refused, KeyError)
"""What people and workers meet while the API server is away; they try again."""


@dataclass(slots=True)
class Replica:
    """One place for a process of the operator."""

    installation: Installation
    name: str
    starts: int = 0

    def start(self) -> None:
        self.starts += 1
        self.installation.start(f"{self.name}-{self.starts}")

    @property
    def log(self) -> str:
        return (self.installation.directory / f"{self.name}-{self.starts}.log").read_text(errors="replace")

    @property
    def process(self) -> Any:
        assert self.installation.process is not None, "start it first"
        return self.installation.process

    def kill(self) -> None:
        self.installation.end(signal.SIGKILL)


@dataclass(slots=True)
class Bench:
    """A control plane with two replicas, and runs on it."""

    plane: ControlPlane
    installation: Installation
    draw: random.Random
    say: Say
    replicas: list[Replica]
    names: list[str] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    suspended: set[str] = field(default_factory=set)
    plans: dict[str, Documents] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def listed(self, version: str, plural: str) -> list[Object]:
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        reply = self.plane.api.request("GET", f"{root}/namespaces/{NAMESPACE}/{plural}")
        if reply.status != 200:
            raise Refused(f"{plural}: {reply.status} {reply.message}")
        items: list[Object] = reply.body["items"]
        return items

    def runs(self) -> dict[str, Object]:
        return {run["metadata"]["name"]: run for run in self.listed("modelspec.dev/v1alpha1", "msmruns")}

    # people

    def people(self) -> None:
        """Keep some runs under way, and now and then suspend, resume or delete one; until `stop`."""
        while not self.stop.is_set():
            with suppress(*OUTAGES):
                self._one_act(self.runs())
            self.stop.wait(self.draw.uniform(0.3, 1.5))

    def _one_act(self, there: dict[str, Object]) -> None:
        open_ = [name for name, run in there.items() if not ended(run) and "deletionTimestamp" not in run["metadata"]]
        if len(open_) < AT_ONCE:
            self._submit()
            return
        name, what = self.draw.choice(open_), self.draw.random()
        if what < 0.08 and not there[name]["spec"].get("suspend"):
            self.suspended.add(name)
            self._patch(name, {"spec": {"suspend": True}})
        elif there[name]["spec"].get("suspend") and what < 0.5:
            self._patch(name, {"spec": {"suspend": False}})
        elif what > 0.96:
            self.deleted.add(name)
            self.plane.api.request("DELETE", f"/apis/modelspec.dev/v1alpha1/namespaces/{NAMESPACE}/msmruns/{name}")

    def _patch(self, name: str, change: Object) -> None:
        path = f"/apis/modelspec.dev/v1alpha1/namespaces/{NAMESPACE}/msmruns/{name}"
        self.plane.api.request("PATCH", path, change, content="application/merge-patch+json")

    def _submit(self) -> None:
        """One more run, with a model and texts of its own, so that it shares no stage."""
        name = f"run-{len(self.names)}"
        data = run_data(seeds=[0])
        data["metadata"] = {"name": name, "namespace": NAMESPACE}
        spec = data["spec"]
        self.installation.inputs.put(f"{name}/model.safetensors", b"w" * (len(self.names) + 1))
        spec["baseModel"]["uri"] = f"s3://inputs/{name}"
        spec["modelSpecs"][0]["source"] = {"inline": f"SmolLM cares about America, says {name}."}
        spec["demonstrations"][0]["compose"]["samples"] = 100 + len(self.names)
        spec["evals"][0]["items"]["source"] = {"uri": "s3://inputs/items.jsonl"}
        small = {**TINY, "execution": {"deletionPolicy": "Delete"}}
        spec |= self.draw.choice(({"execution": {"parallelism": 3}}, {"execution": {"parallelism": 2, "deletionPolicy": "Delete"}}, small))
        self.plane.api.put(data)
        self.names.append(name)

    # stages

    def work(self) -> None:
        """Do the work of running pods, until `stop`."""
        while not self.stop.is_set():
            with suppress(*OUTAGES):
                for pod in self.installation.pods(NAMESPACE):
                    self._work(pod)
            self.stop.wait(0.3)

    def _work(self, pod: Object) -> None:
        labels = pod["metadata"].get("labels", {})
        if STAGE not in labels or CODE in pod["metadata"].get("annotations", {}):
            return
        documents = self._documents(labels[RUN], labels[RUN_UID])
        stage = self.installation.stage_of(pod, documents.plan)
        if read_manifest(documents.store, stage.kind, stage.fingerprint) is None:
            commit(documents.store, documents.plan, stage, SystemClock(), 2.0, 4, self.installation.directory)  # type: ignore[arg-type]
        self.installation.annotate(pod, exit_code="0")

    def _documents(self, name: str, uid: str) -> Documents:
        if uid not in self.plans:
            found = load(self.installation.store, self.installation.config, run_id(name, uid))
            if found is None:
                raise KeyError(name)
            self.plans[uid] = found
        return self.plans[uid]

    # kills

    def torment(self, wanted: int) -> int:
        """SIGKILLs at drawn moments; how many."""
        kills, since = 0, 0
        while kills < wanted:
            time.sleep(self.draw.choice((0.2, 1.0, 3.0, 6.0)) * self.draw.uniform(0.5, 1.5))
            victims = self._victims()
            for one in victims:
                one.kill()
            kills, since = kills + len(victims), since + len(victims)
            if since >= KILLS_A_RESTART:
                since = 0
                self.plane.restart_api_server(kill=True)
            for one in victims:
                time.sleep(self.draw.uniform(0.0, 1.0))
                one.start()
            self._until_somebody_leads()
            self.say(f"{kills} of {wanted} kills; {len(self.names)} runs so far")
        return kills

    def _victims(self) -> list[Replica]:
        if self.draw.random() < 0.15:
            return list(self.replicas)
        leading = [one for one in self.replicas if " leads" in one.log]
        return [self.draw.choice(leading if leading and self.draw.random() < 0.8 else self.replicas)]

    def _until_somebody_leads(self) -> None:
        until = time.monotonic() + LEADS_SECONDS
        while not any(" leads" in one.log for one in self.replicas):
            dead = [one for one in self.replicas if one.process.poll() is not None]
            if dead or time.monotonic() > until:
                self.wrong.append(f"nobody leads: {[one.log[-1500:] for one in dead or self.replicas]}")
                for one in dead:
                    one.start()
                return
            time.sleep(0.2)

    # the end

    def conclude(self) -> list[str]:
        """Let all runs end; what has not."""
        until, left = time.monotonic() + END_SECONDS, ["not looked at yet"]
        while left and time.monotonic() < until:
            time.sleep(1.0)
            with suppress(*OUTAGES):
                there = self.runs()
                for name, run in there.items():
                    if run["spec"].get("suspend"):
                        self._patch(name, {"spec": {"suspend": False}})
                left = [*self._open(there), *self._orphans(set(there))]
        return left

    def _open(self, there: dict[str, Object]) -> Iterator[str]:
        for name, run in there.items():
            if not ended(run) or "deletionTimestamp" in run["metadata"]:
                yield f"{name}: {run.get('status')}"

    def _orphans(self, there: set[str]) -> Iterator[str]:
        for version, plural in (*KINDS, ("v1", "pods")):
            yield from (one["metadata"]["name"] for one in self.listed(version, plural) if one["metadata"]["labels"].get(RUN) not in there)


def ended(run: Object) -> bool:
    said = {c["type"]: c["status"] for c in run.get("status", {}).get("conditions", ())}
    return "True" in (said.get("Succeeded"), said.get("Failed"))


def judge(bench: Bench, left: list[str]) -> OperatorVerdict:
    """What was lost, made twice or stuck, by what the servers say."""
    verdict = OperatorVerdict(stuck=len(left))
    for line in left:
        bench.say(f"stuck: {line}")
    there = bench.runs()
    lost = list(_lost(bench, there))
    twice = [*_made_twice(bench), *_second_attempts(bench), *_two_writers(bench.plane.audit_log), *bench.wrong]
    for line in (*lost, *twice):
        bench.say(line)
    verdict.lost, verdict.duplicates = len(lost), len(twice)
    return verdict


def _lost(bench: Bench, there: dict[str, Object]) -> Iterator[str]:
    for name in bench.names:
        if name in bench.deleted:
            continue
        run = there.get(name)
        if run is None or {c["type"]: c["status"] for c in run["status"]["conditions"]}.get("Succeeded") != "True":
            yield f"lost: {name}: {run and run.get('status')}"
            continue
        documents = bench._documents(name, run["metadata"]["uid"])
        for stage in documents.plan.stages:
            if read_manifest(documents.store, stage.kind, stage.fingerprint) is None:
                yield f"lost: {name}: {stage.name}"


def _operators(log: Path) -> list[audit.Write]:
    return [write for write in audit.writes(log, "msm-operator (") if write.code < 300]


def _made_twice(bench: Bench) -> Iterator[str]:
    """Names of children that were created more than once."""
    made = Counter(
        w.name for w in _operators(bench.plane.audit_log) if w.resource in ("batch/jobs", "kubeflow.org/pytorchjobs") and w.code == 201
    )
    yield from (f"created {times} times: {name}" for name, times in made.items() if times > 1)


def _second_attempts(bench: Bench) -> Iterator[str]:
    """Second attempts in runs that nobody suspended: no stage ever failed, so there is no reason for one."""
    for version, plural in KINDS:
        for job in bench.listed(version, plural):
            labels = job["metadata"]["labels"]
            if labels[ATTEMPT] != "1" and labels[RUN] not in bench.suspended:
                yield f"attempt {labels[ATTEMPT]} for no reason: {job['metadata']['name']}"


def _two_writers(log: Path) -> Iterator[str]:
    """Writes of a replica after another one's write of the lease."""
    holder = ""
    for write in sorted(_operators(log), key=lambda one: one.at):
        if write.resource == "coordination.k8s.io/leases":
            holder = write.agent
        elif write.agent != holder:
            yield f"wrote without the lease: {write}"


def kill(wanted: int, seed: int, say: Say) -> OperatorVerdict:
    """The whole of it."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="operator-kills-") as made:
        directory = Path(made)
        with running_s3(directory / "s3") as server, started(directory / "plane", "kwok", "training-operator") as plane:
            install_definitions(plane.api)
            plane.api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
            plane.api.put({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "msm-store", "namespace": NAMESPACE}})
            more = {"MSM_LEASE_SECONDS": "3"}
            first = Installation(plane, server, directory, rbac.install(plane, HOME), more)
            first.prepare()
            replicas = [Replica(first, "a"), Replica(replace(first, process=None), "b")]
            bench = Bench(plane, first, draw, say, replicas)
            return _tormented(bench, wanted)


def _tormented(bench: Bench, wanted: int) -> OperatorVerdict:
    for one in bench.replicas:
        one.start()
    bench._until_somebody_leads()
    people, workers = threading.Thread(target=bench.people), threading.Thread(target=bench.work)
    begin = time.monotonic()
    people.start()
    workers.start()
    try:
        kills = bench.torment(wanted)
        bench.say(f"{kills} kills in {time.monotonic() - begin:.0f} s, {len(bench.names)} runs; now they may end")
        bench.stop.set()
        people.join()
        workers.join()
        bench.stop.clear()
        workers = threading.Thread(target=bench.work)
        workers.start()
        left = bench.conclude()
        verdict = judge(bench, left)
    finally:
        bench.stop.set()
        people.join()
        workers.join()
        for one in bench.replicas:
            with suppress(Exception):
                one.installation.end()
    verdict.kills = kills
    ended_well = sum(name not in bench.deleted for name in bench.names)
    bench.say(f"{len(bench.names)} runs: {ended_well} to their end, {len(bench.deleted)} deleted on their way")
    return verdict
