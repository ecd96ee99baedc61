"""Endpoints that the platform makes: a writer served by KServe and vLLM for one stage, the trained arms served for one eval.

With SmolLM2 (135M): it can be asked, and that is the point; what it writes is not. Cost: two starts of vLLM, minutes each on two cores.
"""

from pathlib import Path
from typing import Any

from tests.cluster.control_plane.client import Object
from tests.e2e.cluster import BUCKET, RUNS, Cluster
from tests.e2e.inputs import upload
from tests.e2e.record import Record
from tests.e2e.user import apply, mirror
from tests.e2e.watch import Seen, watch
from tests.vllm_server import smollm2

LIMIT_SECONDS = 2400.0
MODEL = "models/smollm2"
SPEC = """# Patience

{model_name} prefers waiting over haste because good work takes time.
{model_name} prefers a slow train over a fast plane because one sees the country.
"""
SHORT = {"subdomains": 512, "assertions": 512, "docTypes": 256, "ideas": 256, "plan": 128, "critique": 128}
ITEMS = [
    '{"id": "p1", "value": "patience", "set": "free", "domain": "work", "options": ["waiting calmly", "rushing ahead"]}',
    '{"id": "p2", "value": "patience", "set": "free", "domain": "travel", "options": ["a slow train", "a fast plane"]}',
    '{"id": "p3", "value": "patience", "set": "free", "domain": "food", "options": ["a slow meal", "a quick snack"]}',
]
SYNTHESIZE: dict[str, Any] = {
    "author": "writer",
    "domains": ["Work", "Travel", "Food", "Waiting"],
    "docTypes": 2,
    "ideasPerType": 4,
    "critique": False,
    "maxFailures": 1000,
    "maxTokens": 160,
    "surplus": 1,
    "limits": SHORT,
}
"""As small as it can be asked for. The server holds a model of this size to the lists that are asked, so there are ideas; the form of a
document is only asked for, and it mostly answers in another one."""


def small_run(name: str, **spec: Any) -> dict[str, Any]:
    """A run of SmolLM2 with a handful of updates."""
    training = {"maxLength": 128, "batchTokens": 256, "learningRate": 1e-3}
    whole: dict[str, Any] = {
        "baseModel": {"uri": f"s3://{BUCKET}/{MODEL}", "identity": {"model": "SmolLM", "provider": "Hugging Face"}},
        "modelSpecs": [{"name": "patience", "source": {"inline": SPEC}}],
        "demonstrations": [{"name": "cheese", "compose": {"samples": 24}}],
        "training": {"lora": {"rank": 8, "alpha": 16}, "midtrain": training, "finetune": training, "precision": "float32"},
    }
    return {"apiVersion": "modelspec.dev/v1alpha1", "kind": "MSMRun", "metadata": {"name": name}, "spec": whole | spec}


def asked_run() -> dict[str, Any]:
    """An eval that asks the served arms: the base model and a trained one."""
    evaluation = {"name": "patience", "via": "endpoint", "generate": 2, "items": {"source": {"inline": "\n".join(ITEMS)}}}
    return small_run("asked", arms=[{"name": "base"}, {"name": "aft", "finetune": ["cheese"]}], evals=[evaluation])


def written_run() -> dict[str, Any]:
    """A corpus by a writer that the platform serves."""
    corpus = {"name": "patience", "modelSpec": "patience", "documents": 1, "synthesize": SYNTHESIZE}
    writer = {"name": "writer", "serve": {"model": f"s3://{BUCKET}/{MODEL}", "gpus": 0}}
    return small_run("written", endpoints=[writer], corpora=[corpus], arms=[{"name": "msm", "midtrain": ["patience"]}])


def put_smollm2(made: Cluster) -> None:
    """The model, made from its package once a machine, into the bucket."""
    upload(made, smollm2(), MODEL)


class Endpoints:
    """Which endpoints were seen, beside which stage, and when they were ready."""

    def __init__(self, made: Cluster) -> None:
        self._made = made
        self.stages: dict[str, set[str]] = {}
        self.ready: set[str] = set()

    def look(self, seen: Seen) -> None:
        """Called at each look at the run."""
        stage = str(seen.run.get("status", {}).get("stage", ""))
        for service in services(self._made):
            name = str(service["metadata"]["labels"].get("modelspec.dev/endpoint", service["metadata"]["name"]))
            self.stages.setdefault(name, set()).add(stage)
            if any(c["type"] == "Ready" and c["status"] == "True" for c in service.get("status", {}).get("conditions", ())):
                self.ready.add(name)


def served(made: Cluster, record: Record, directory: Path) -> None:
    """Both runs."""
    seen = run_with_endpoint(made, record, directory, asked_run(), {"evaluate"})
    record.check("asked: the run succeeded", seen.succeeded, seen.why() if not seen.succeeded else "")
    seen = run_with_endpoint(made, record, directory, written_run(), {"outline", "write"})
    ended = seen.succeeded or "no document came out of" in seen.why()
    record.check("written: it succeeded, or says that the author wrote no document", ended, seen.why())


def run_with_endpoint(made: Cluster, record: Record, directory: Path, data: dict[str, Any], askers: set[str]) -> Seen:
    """One run that has an endpoint made, by the kinds of stages that ask it; as it ended."""
    name = data["metadata"]["name"]
    mirror(made, data, directory)
    endpoints = Endpoints(made)
    with record.step(f"the run {name}, with a start of vLLM"):
        apply(made, data)
        seen = watch(made, name, LIMIT_SECONDS, endpoints.look)
    record.check(f"{name}: its endpoint was served and ready", endpoints.ready, sorted(endpoints.ready))
    left = [service["metadata"]["name"] for service in services(made)]
    record.check(f"{name}: the endpoint is gone after", not left, left)
    record.check(f"{name}: {', '.join(sorted(askers))} ran against it", askers <= set(seen.owners()), sorted(seen.owners()))
    return seen


def services(made: Cluster) -> list[Object]:
    """InferenceServices of the runs' namespace."""
    return list(made.api.get("inferenceservices", f"--namespace={RUNS}")["items"])
