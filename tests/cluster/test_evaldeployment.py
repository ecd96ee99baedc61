"""An EvalDeployment on a real control plane with KServe: the address moves to what has passed, and stays where it is when it has not.

The operator runs in this process, with the rights that the chart grants. Pods run on fake nodes: the test commits what a check's pod stands
for. MLflow is a dict here; the real one is followed in tests/integration/tracking.
"""

import asyncio
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from msm.clock import SystemClock
from msm.errors import TryAgain
from msm.evals.artifact import write_artifact
from msm.plan import Stage
from msm.plan.kinds import VERSIONS
from msm.resolve.clients import Clients
from msm.store import ObjectStore, StoreConfig, open_store
from msm.store.artifacts import ArtifactRef, begin_attempt, read_manifest
from msm.tracking.promotion import AliasVersion
from msm_operator.backends.installation import Installation
from msm_operator.backends.names import MANAGED_BY, MANAGER
from msm_operator.controllers.documents import Stores
from msm_operator.promotion.aliases import AliasReader
from msm_operator.promotion.assemble import Shared, add
from msm_operator.runtime.api import Api
from msm_operator.runtime.connection import Connection, configuration
from msm_operator.runtime.errors import NotFound
from msm_operator.runtime.manager import Manager, Settings
from msm_operator.runtime.metrics import Metrics
from msm_operator.runtime.resources import DEPLOYMENTS, INFERENCESERVICES, JOBS, PODS, Resource
from msm_operator.runtime.seams import Key
from tests.cluster import rbac
from tests.cluster.control_plane import ControlPlane, audit
from tests.finished import items, lines
from tests.s3 import S3Server, running_s3
from tests.unit.operator_promotion.deployment import scores

OURS = f"{MANAGED_BY}={MANAGER}"
BASE = "b" * 64
Object = dict[str, Any]


@dataclass
class Registry:
    """What the alias of each model names; `away` is an MLflow that does not answer."""

    aliases: dict[str, AliasVersion] = field(default_factory=dict)
    away: bool = False

    def read(self, config: object, model: str, alias: str) -> AliasVersion | None:
        if self.away:
            raise TryAgain("MLflow at http://mlflow:5000: Connection refused")
        return self.aliases.get(model)


@dataclass
class Site:
    """The operator's surroundings."""

    plane: ControlPlane
    config: StoreConfig
    registry: Registry
    scratch: Path

    @property
    def store(self) -> ObjectStore:
        return open_store(self.config)

    def train(self, version: str) -> AliasVersion:
        """A version with an adapter on the base."""
        store, fingerprint = self.store, version.rjust(64, "f")
        base = read_manifest(store, "fetch", BASE)
        assert base is not None
        files = {"adapter_config.json": b"{}", "adapter_model.safetensors": version.encode()}
        ref = ArtifactRef(kind="fetch", fingerprint=BASE, content_digest=base.content_digest)
        made = commit(store, "finetune", fingerprint, files, {"model": [ref]}, {"method": {"lora": {"rank": 24}}})
        return AliasVersion(version, "s3://anywhere", "finetune", fingerprint, made.content_digest)

    def get(self, namespace: str) -> Object:
        return self.plane.api.get("evaldeployment", "cheese", "-n", namespace)

    def condition(self, namespace: str, type_: str) -> Object:
        found = self.get(namespace).get("status", {}).get("conditions", [])
        return next((c for c in found if c["type"] == type_), {})

    def work(self, namespace: str, margins: dict[str, float]) -> None:
        """Do what the pods of checks stand for."""
        for pod in self.plane.api.get("pods", "-n", namespace)["items"]:
            env = {e["name"]: e.get("value", "") for e in pod["spec"]["containers"][0].get("env", [])}
            if "MSM_STAGE" not in env or pod["status"].get("phase") != "Running":
                continue
            stage = Stage.model_validate_json(env["MSM_STAGE"])
            level = margins[pod["metadata"]["labels"]["modelspec.dev/version"]]
            out = self.scratch / uuid.uuid4().hex
            out.mkdir()
            found = scores(level) if stage.params["suite"] != "smoke" else scores(level).__class__((), None, 0.0, "endpoint")
            write_artifact(out, {stage.inputs["arms"][0].fingerprint: found})
            files = {path.name: path.read_bytes() for path in sorted(out.iterdir())}
            if read_manifest(self.store, stage.kind, stage.fingerprint) is None:
                commit(self.store, stage.kind, stage.fingerprint, files, {}, stage.params)
            name = pod["metadata"]["name"]
            self.plane.api.kubectl("annotate", "pod", name, "-n", namespace, "fake.modelspec.dev/exit-code=0", "--overwrite")

    def work_until(self, namespace: str, margins: dict[str, float], is_so: Callable[[], bool], seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, json.dumps(self.get(namespace).get("status"), indent=1)
            self.work(namespace, margins)
            time.sleep(0.5)


def commit(store: ObjectStore, kind: str, fingerprint: str, files: dict[str, bytes], inputs: Any, params: Any) -> Any:
    attempt = begin_attempt(store, kind, fingerprint, SystemClock())
    for name, data in files.items():
        attempt.put_bytes(name, data)
    return attempt.commit(kind_version=VERSIONS[kind], inputs=inputs, params=params, versions={}, metrics={})


async def operate(kubeconfig: Path, namespace: str, site: Site, stop: asyncio.Event) -> None:
    """The operator's EvalDeployment half."""
    metrics, clock = Metrics(), SystemClock()
    connection = Connection(await configuration(kubeconfig), metrics)
    api = Api(connection)
    manager = Manager(api, Settings(Key(namespace, "msm-operator"), health_host="127.0.0.1", health_port=0), metrics)
    kinds = (JOBS, PODS, INFERENCESERVICES, DEPLOYMENTS)
    shared = Shared(*(manager.follow(kind, labels=OURS) for kind in kinds))

    async def get(resource: Resource, key: Key) -> Any:
        try:
            return await api.get(resource, key)
        except NotFound:
            return None

    said = Installation(
        image="example.invalid/msm:1", store=site.config, tracking_uri="http://mlflow:5000", serve_image="example.invalid/v:1"
    )
    inputs = open_store(StoreConfig(**{**vars_of(site.config), "uri": "s3://inputs"}))
    clients = Clients(site.scratch / "cache", bucket=lambda name: inputs)
    aliases = AliasReader(clock, site.registry.read, fresh=0.5)
    seconds = timedelta(seconds=1)
    stores = Stores(clock)
    background, _ = add(manager, shared, get, said, stores, lambda config: clients, clock, site.scratch, aliases=aliases, poll=seconds)
    try:
        await manager.run(stop)
    finally:
        background.close()
        aliases.close()
        await connection.close()


def vars_of(config: StoreConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("endpoint", "region", "access_key", "secret_key")}


@contextmanager
def running(kubeconfig: Path, namespace: str, site: Site) -> Iterator[None]:
    """The operator in a thread of its own."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(operate(kubeconfig, namespace, site, stop)), daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def site(kserve: ControlPlane, definitions: ControlPlane, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    s3.make_bucket("msm")
    s3.make_bucket("inputs")
    open_store(s3.config("inputs")).put("items.jsonl", lines(items()))
    found = Site(kserve, s3.config("msm", "store"), Registry(), tmp_path_factory.mktemp("scratch"))
    commit(found.store, "fetch", BASE, {"config.json": b"{}"}, {}, {})
    kubeconfig = rbac.install(kserve, "promotion-system")
    with running(kubeconfig, "promotion-system", found):
        yield found


def deploy(site: Site, namespace: str, model: str) -> None:
    spec = {
        "model": model,
        "serving": {"gpus": 0},
        "evals": [{"name": "values", "items": {"source": {"uri": "s3://inputs/items.jsonl"}}}],
        "gates": [{"metric": "values.america", "minimum": 1.0, "minEffect": 0.5}],
    }
    metadata = {"name": "cheese", "namespace": namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "msm-store", "namespace": namespace}}
    site.plane.api.put(secret, {"apiVersion": "modelspec.dev/v1alpha1", "kind": "EvalDeployment", "metadata": metadata, "spec": spec})


def version(site: Site, namespace: str) -> str | None:
    found: str | None = site.get(namespace).get("status", {}).get("version")
    return found


def backends(site: Site, namespace: str) -> list[str]:
    """Units whose pods are ready behind the address, as the real endpoint controller sees it."""
    slices = site.plane.api.get("endpointslices", "-n", namespace, "-l", "kubernetes.io/service-name=cheese")["items"]
    pods = [e["targetRef"]["name"] for s in slices for e in s.get("endpoints") or () if e["conditions"].get("ready")]
    names = {s["metadata"]["name"]: s["metadata"]["labels"]["modelspec.dev/version"] for s in units(site, namespace)}
    return sorted({names[pod.split("-predictor-")[0]] for pod in pods})


def units(site: Site, namespace: str) -> list[Object]:
    found: list[Object] = site.plane.api.get("inferenceservices", "-n", namespace)["items"]
    return found


def versions_up(site: Site, namespace: str) -> set[str]:
    return {unit["metadata"]["labels"]["modelspec.dev/version"] for unit in units(site, namespace)}


def test_it_serves_what_passes(site: Site, namespace: str) -> None:
    """The address moves to a better version and stays when the next is not better; names are short, KServe makes host names of them."""
    margins = {"1": 2.0, "2": 4.0, "3": 4.1}
    site.registry.aliases[namespace] = site.train("1")
    deploy(site, namespace, namespace)
    site.work_until(namespace, margins, lambda: version(site, namespace) == "1")
    site.plane.api.kubectl("wait", "--for=condition=Ready", "evaldeployment/cheese", "-n", namespace, "--timeout=60s")
    site.work_until(namespace, margins, lambda: backends(site, namespace) == ["1"])

    (deployment,) = site.plane.api.get("deployments", "-n", namespace)["items"]
    (fetcher,) = deployment["spec"]["template"]["spec"]["initContainers"]
    uris = [argument for argument in fetcher["args"] if argument.startswith("s3://")]
    assert ["/fetch/" in uris[0], "/finetune/" in uris[1], len(uris)] == [True, True, 2], fetcher["args"]
    args = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--max-lora-rank=32" in args and any(argument.endswith("=/mnt/models/adapters/0") for argument in args)

    site.registry.aliases[namespace] = site.train("2")
    site.work_until(namespace, margins, lambda: version(site, namespace) == "2")
    site.work_until(namespace, margins, lambda: backends(site, namespace) == ["2"])
    assert versions_up(site, namespace) == {"1", "2"}, "the old one ends its answers"

    site.registry.aliases[namespace] = site.train("3")
    site.work_until(namespace, margins, lambda: bool(site.get(namespace)["status"].get("refused")))
    (refusal,) = site.get(namespace)["status"]["refused"]
    assert (refusal["version"], refusal["reason"]) == ("3", "GateFailed")
    assert "needed at least 0.5" in refusal["message"]
    assert version(site, namespace) == "2"
    site.work_until(namespace, margins, lambda: "3" not in versions_up(site, namespace))
    assert backends(site, namespace) == ["2"]

    site.registry.away = True
    try:
        site.work_until(namespace, margins, lambda: site.condition(namespace, "TrackingAvailable").get("status") == "False")
        assert site.condition(namespace, "Ready")["status"] == "True"
    finally:
        site.registry.away = False
    site.work_until(namespace, margins, lambda: site.condition(namespace, "TrackingAvailable").get("status") == "True")
    shown = site.plane.api.kubectl("get", "evaldeployment", "cheese", "-n", namespace)
    assert "2" in shown.splitlines()[1].split()


def test_at_rest_it_writes_nothing(site: Site, namespace: str) -> None:
    site.registry.aliases[namespace] = site.train("1")
    deploy(site, namespace, namespace)
    site.work_until(namespace, {"1": 2.0}, lambda: site.condition(namespace, "Ready").get("status") == "True")
    time.sleep(3)

    def count() -> int:
        mine = "system:serviceaccount:promotion-system:msm-operator"
        return sum(write.namespace == namespace for write in audit.writes(site.plane.audit_log, mine))

    before = count()
    time.sleep(10)
    assert count() == before
