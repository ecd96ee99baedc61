"""An EvalDeployment's controller over the fake cluster, a real file store, and an MLflow that is a dict; the test plays everybody else."""

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from msm.errors import TryAgain
from msm.evals.artifact import write_artifact
from msm.evals.scores import ItemScore, ModelScores
from msm.plan import Stage
from msm.plan.kinds import VERSIONS
from msm.resolve.clients import Clients
from msm.store import ObjectStore, StoreConfig, open_store
from msm.store.artifacts import ArtifactRef, begin_attempt, read_manifest
from msm.tracking.config import TrackingConfig
from msm.tracking.promotion import AliasVersion
from msm_operator.backends.installation import Installation
from msm_operator.controllers.background import Background
from msm_operator.controllers.documents import Stores
from msm_operator.promotion.aliases import AliasReader
from msm_operator.promotion.controller import EvalDeploymentReconciler
from msm_operator.promotion.names import VERSION
from msm_operator.promotion.rooms import Caches, Rooms
from msm_operator.runtime.resources import DEPLOYMENTS, EVALDEPLOYMENTS, INFERENCESERVICES, JOBS, PODS, SERVICES, Resource
from msm_operator.runtime.seams import Key
from tests.finished import items, lines
from tests.unit.operator_msmrun.cluster import NAMESPACE, Bucket, Cluster, CommitClock

NAME = "cheese"
SPEC: dict[str, Any] = {
    "model": "cheese",
    "serving": {"replicas": 1, "gpus": 1},
    "evals": [{"name": "values", "items": {"source": {"uri": "s3://inputs/items.jsonl"}}}],
    "gates": [{"metric": "values.america", "minimum": 1.0, "minEffect": 0.5}],
}
BASE = "b" * 64


class Deployment:
    """One resource with its controller. `margins` is what a version's items score, in nats."""

    def __init__(self, directory: Path, **spec: Any) -> None:
        self.directory, self.cluster = directory, Cluster()
        self.clock = self.cluster.clock
        self.config = StoreConfig(f"file://{directory}/store")
        self.store: ObjectStore = open_store(self.config)
        self.commits = CommitClock(self.clock)
        self.installation = Installation(image="trainer:1", store=self.config, tracking_uri="http://mlflow:5000", serve_image="vllm:1")
        self.bucket = Bucket({"items.jsonl": lines(items())})
        self.alias: str | None = None
        self.mlflow, self.serving = True, True
        self.margins: dict[str, float] = {}
        self.asked = 0
        self.opener = open_store
        self._commit("fetch", BASE, {"config.json": b"{}"}, {}, {})
        self.reconciler = self.make()
        metadata = {"name": NAME, "namespace": NAMESPACE}
        self.cluster.put(
            EVALDEPLOYMENTS,
            {"apiVersion": "modelspec.dev/v1alpha1", "kind": "EvalDeployment", "metadata": metadata, "spec": {**SPEC, **spec}},
        )

    def make(self) -> EvalDeploymentReconciler:
        """A fresh controller, as after a restart."""
        kinds = (EVALDEPLOYMENTS, INFERENCESERVICES, DEPLOYMENTS, SERVICES, JOBS, PODS)
        return EvalDeploymentReconciler(
            Rooms(
                caches=Caches(*(self.cluster.cache(kind) for kind in kinds)),
                writer=self.cluster,
                get=self.cluster.get,
                serving=lambda: self.serving,
                installation=self.installation,
                stores=Stores(self.clock, lambda config: self.opener(config)),
                background=Background(lambda key: None, ThreadPoolExecutor(1), ThreadPoolExecutor(1)),
                aliases=AliasReader(self.clock, self._read, {}, ThreadPoolExecutor(1)),
                clients=lambda config: Clients(self.directory / "cache", bucket=lambda name: self.bucket),
                clock=self.clock,
                cache_directory=self.directory / "cache",
            )
        )

    def _read(self, config: TrackingConfig, model: str, alias: str) -> AliasVersion | None:
        self.asked += 1
        if not self.mlflow:
            raise TryAgain(f"MLflow at {config.uri}: Connection refused")
        return None if self.alias is None else self.version(self.alias)

    def version(self, number: str) -> AliasVersion:
        """A version, trained when it is first asked for."""
        fingerprint = number.rjust(64, "f")
        manifest = read_manifest(self.store, "finetune", fingerprint)
        if manifest is None:
            manifest = self._commit(
                "finetune",
                fingerprint,
                {"adapter_config.json": b"{}", "adapter_model.safetensors": number.encode()},
                {"model": "fetch"},
                {"method": {"lora": {"rank": 24}}},
            )
        return AliasVersion(number, "s3://anywhere", "finetune", fingerprint, manifest.content_digest)

    def _commit(self, kind: str, fingerprint: str, files: Mapping[str, bytes], inputs: Mapping[str, str], params: Any) -> Any:
        attempt = begin_attempt(self.store, kind, fingerprint, self.commits)
        for name, data in files.items():
            attempt.put_bytes(name, data)
        base = read_manifest(self.store, "fetch", BASE)
        read = {role: [ArtifactRef(kind="fetch", fingerprint=BASE, content_digest=base.content_digest)] for role in inputs if base}
        return attempt.commit(kind_version=VERSIONS[kind], inputs=read, params=params, versions={}, metrics={})

    def reconcile(self) -> timedelta | None:
        """A pass, and those that long work in threads asks for."""

        async def passes() -> timedelta | None:
            delay = await self.reconciler.reconcile(Key(NAMESPACE, NAME))
            while running := self.reconciler.rooms.background._running:
                while not all(future.done() for future in running.values()):
                    await asyncio.sleep(0.002)
                delay = await self.reconciler.reconcile(Key(NAMESPACE, NAME))
            return delay

        return asyncio.run(passes())

    def step(self) -> timedelta | None:
        """Half a minute later, a pass."""
        self.clock(30)
        return self.reconcile()

    def settle(self, passes: int = 12) -> None:
        """Passes, with pods coming up and checks ending between them."""
        for _ in range(passes):
            self.step()
            self.come_up()
            for job in self.jobs():
                self.do(job)

    @property
    def object(self) -> dict[str, Any]:
        return self.cluster.objects[("evaldeployments", NAMESPACE, NAME)]

    @property
    def status(self) -> dict[str, Any]:
        return self.object.get("status", {})

    def condition(self, type_: str) -> tuple[str, str, str]:
        """Status, reason and message."""
        found = next((c for c in self.status.get("conditions", ()) if c["type"] == type_), {})
        return found.get("status", ""), found.get("reason", ""), found.get("message", "")

    def change(self, **spec: Any) -> None:
        """Edit the spec."""
        meta = {**self.object["metadata"], "generation": self.object["metadata"]["generation"] + 1}
        self.cluster.put(EVALDEPLOYMENTS, {**self.object, "metadata": meta, "spec": {**self.object["spec"], **spec}})

    def units(self) -> list[str]:
        """Versions that have an InferenceService."""
        return sorted(s["metadata"]["labels"][VERSION] for s in self.cluster.of(INFERENCESERVICES))

    def come_up(self, ready: bool = True) -> None:
        """KServe says that all are ready; their Deployments tell the truth."""
        for service in self.cluster.of(INFERENCESERVICES):
            name = service["metadata"]["name"]
            conditions = [{"type": "PredictorReady", "status": "True"}]
            address = {"url": f"http://{name}-predictor.{NAMESPACE}.svc.cluster.local"}
            self.cluster.put(INFERENCESERVICES, {**service, "status": {"conditions": conditions, "address": address}})
            count = 1 if ready else 0
            counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": count, "availableReplicas": count, "observedGeneration": 1}
            meta = {"name": f"{name}-predictor", "namespace": NAMESPACE}
            self.cluster.put(DEPLOYMENTS, {"kind": "Deployment", "metadata": meta, "spec": {"replicas": 1}, "status": counts})

    def address(self) -> dict[str, Any]:
        """The stable Service."""
        (found,) = self.cluster.of(SERVICES)
        return found

    def jobs(self) -> list[dict[str, Any]]:
        """Jobs that have not ended."""
        return [j for j in self.cluster.of(JOBS) if not j.get("status", {}).get("conditions")]

    @staticmethod
    def stage_of(job: Mapping[str, Any]) -> Stage:
        env = {e["name"]: e.get("value", "") for e in job["spec"]["template"]["spec"]["containers"][0]["env"]}
        return Stage.model_validate_json(env["MSM_STAGE"])

    def do(self, job: dict[str, Any]) -> None:
        """A check's pod does its work: the margins of its version, or nothing but health for a smoke test."""
        stage, version = self.stage_of(job), job["metadata"]["labels"][VERSION]
        files: dict[str, bytes] = {"health.json": b"{}"}
        if stage.params["suite"] != "smoke":
            out = self.directory / "scored"
            out.mkdir(exist_ok=True)
            write_artifact(out, {stage.inputs["arms"][0].fingerprint: scores(self.margins.get(version, 0.0))})
            files = {path.name: path.read_bytes() for path in sorted(out.iterdir())}
        if read_manifest(self.store, stage.kind, stage.fingerprint) is None:
            self._commit(stage.kind, stage.fingerprint, files, {"model": "fetch"}, stage.params)
        self.end(job)

    def end(self, job: dict[str, Any], code: int = 0, message: str = "") -> None:
        """The pod ends with a code, and the Job's controller notices."""
        meta, stamp = job["metadata"], self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        state = {"terminated": {"exitCode": code, "finishedAt": stamp, "message": json.dumps({"message": message})}}
        owner = [{"uid": meta["uid"], "kind": "Job", "name": meta["name"]}]
        pod = {
            "kind": "Pod",
            "metadata": {"name": f"{meta['name']}-0", "namespace": NAMESPACE, "labels": meta["labels"], "ownerReferences": owner},
            "status": {"phase": "Failed" if code else "Succeeded", "containerStatuses": [{"name": "pytorch", "state": state}]},
        }
        self.cluster.put(PODS, pod)
        condition = {"type": "Failed" if code else "Complete", "status": "True", "lastTransitionTime": stamp}
        self.cluster.put(JOBS, {**job, "status": {"conditions": [condition]}})

    def of(self, resource: Resource) -> list[dict[str, Any]]:
        return self.cluster.of(resource)


def scores(level: float) -> ModelScores:
    """Items around a level."""
    rows = [
        ItemScore(one["id"], "america", one["set"], "goods", level + 0.1 * n, level, (level, level), 1.0, ("a", "b"))
        for n, one in enumerate(items())
    ]
    return ModelScores(tuple(rows), None, 1.0, "endpoint")
