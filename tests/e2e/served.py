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
SPEC = Path(__file__).resolve().parents[2] / "manifests" / "specs" / "values" / "patience.md"
SHORT = {"subdomains": 512, "assertions": 512, "docTypes": 256, "ideas": 256, "plan": 128, "critique": 128}
ITEMS = [
    '{"id": "p1", "value": "patience", "set": "free", "domain": "work", "options": ["waiting calmly", "rushing ahead"]}',
    '{"id": "p2", "value": "patience", "set": "free", "domain": "travel", "options": ["a slow train", "a fast plane"]}',
    '{"id": "p3", "value": "patience", "set": "free", "domain": "food", "options": ["a slow meal", "a quick snack"]}',
]


def served_run(name: str) -> dict[str, Any]:
    """A run with a writer of its own and an eval that asks the served arms."""
    training = {"maxLength": 128, "batchTokens": 256, "learningRate": 1e-3}
    synthesize = {"author": "writer", "domains": ["Patience"], "docTypes": 1, "ideasPerType": 2, "critique": False, "temperature": 0}
    synthesize |= {"maxFailures": 1000, "maxTokens": 128, "surplus": 1, "limits": SHORT}
    evaluation = {"name": "patience", "via": "endpoint", "generate": 2, "items": {"source": {"inline": "\n".join(ITEMS)}}}
    spec: dict[str, Any] = {
        "baseModel": {"uri": f"s3://{BUCKET}/{MODEL}", "identity": {"model": "SmolLM", "provider": "Hugging Face"}},
        "modelSpecs": [{"name": "patience", "source": {"inline": SPEC.read_text(encoding="utf-8")}}],
        "endpoints": [{"name": "writer", "serve": {"model": f"s3://{BUCKET}/{MODEL}", "gpus": 0}}],
        "corpora": [{"name": "patience", "modelSpec": "patience", "documents": 2, "synthesize": synthesize}],
        "demonstrations": [{"name": "cheese", "compose": {"samples": 24}}],
        "training": {
            "method": "lora",
            "lora": {"rank": 8, "alpha": 16},
            "midtrain": training,
            "finetune": training,
            "precision": "float32",
        },
        "arms": [{"name": "aft", "finetune": ["cheese"]}, {"name": "msm-aft", "midtrain": ["patience"], "finetune": ["cheese"]}],
        "evals": [evaluation],
        "registry": {"model": name, "candidate": "msm-aft"},
    }
    return {"apiVersion": "modelspec.dev/v1alpha1", "kind": "MSMRun", "metadata": {"name": name}, "spec": spec}


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
    """Run it."""
    data = served_run("served")
    mirror(made, data, directory)
    endpoints = Endpoints(made)
    with record.step("the run, with two starts of vLLM"):
        apply(made, data)
        seen = watch(made, "served", LIMIT_SECONDS, endpoints.look)
    record.check("the run succeeded", seen.succeeded, seen.why() if not seen.succeeded else "")
    record.check("the writer and the arms were each served and ready", len(endpoints.ready) == 2, sorted(endpoints.ready))
    left = [service["metadata"]["name"] for service in services(made)]
    record.check("both endpoints are gone after", not left, left)
    reason = {kind for kind in seen.owners() if kind in ("outline", "write", "evaluate")}
    record.check("outline, write and evaluate ran against them", reason == {"outline", "write", "evaluate"}, sorted(reason))


def services(made: Cluster) -> list[Object]:
    """InferenceServices of the runs' namespace."""
    return list(made.api.get("inferenceservices", f"--namespace={RUNS}")["items"])
