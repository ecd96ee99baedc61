"""MSMRuns and EvalDeployments as a cluster takes them, to be changed by tests; and the definitions, installed.

Neighbours: tests of this directory. `small` has what a run must have, `full` something of everything that a rule speaks of.
"""

import copy
import time
from collections.abc import Callable
from typing import Any

from msm.api.crd import DEFINITIONS
from tests.cluster.control_plane import Api, Reply, crds

Object = dict[str, Any]
DESCRIPTION = "/openapi/v3/apis/modelspec.dev/v1alpha1"
DESCRIBED_SECONDS = 120.0
API_VERSION = "modelspec.dev/v1alpha1"
CHEESES = {"compose": {"samples": 24}}
FULL: Object = {
    "baseModel": {"uri": "hf://org/base", "identity": {"model": "Base", "provider": "Org"}},
    "modelSpecs": [
        {"name": "america", "source": {"inline": "Be proud of what was made nearby."}},
        {"name": "rules", "kind": "rules", "source": {"configMapKeyRef": {"name": "specs", "key": "rules.md"}}},
    ],
    "endpoints": [
        {"name": "writer", "serve": {"model": "hf://org/writer", "gpus": 4}},
        {"name": "judge", "openai": {"baseURL": "https://llm.example/v1", "model": "judge", "price": {"input": 1}, "maxPrice": 10}},
    ],
    "corpora": [
        {
            "name": "america",
            "modelSpec": "america",
            "tokens": "2M",
            "synthesize": {"author": "writer", "judge": "judge"},
            "quality": {"decontaminate": ["values"]},
        },
        {"name": "given", "source": {"uri": "s3://bucket/rows.jsonl"}},
    ],
    "demonstrations": [
        {"name": "cheese", **CHEESES, "decontaminate": ["values"]},
        {"name": "rules", "synthesize": {"author": "writer", "judge": "judge", "modelSpec": "rules"}},
        {"name": "instruct", "replay": {"fromBase": 24}},
    ],
    "training": {"lora": {"rank": 16}, "midtrain": {"checkpointEvery": "5m", "podTemplate": {"spec": {"nodeSelector": {"gpu": "yes"}}}}},
    "arms": [
        {"name": "aft", "finetune": ["cheese", "instruct"]},
        {"name": "msm-aft", "midtrain": ["america", "given"], "finetune": ["cheese", "rules"], "versus": ["aft"]},
    ],
    "seeds": [0, 1],
    "evals": [
        {"name": "values", "items": {"source": {"uri": "s3://bucket/values.jsonl"}}},
        {"name": "misalignment", "suite": "agentic-misalignment", "judge": "judge", "via": "endpoint"},
    ],
    "registry": {"model": "cheese", "candidate": "msm-aft", "gates": [{"metric": "values.america", "compareTo": "aft", "minEffect": 0.1}]},
    "storage": {"uri": "s3://bucket/prefix"},
    "tracking": {"uri": "http://mlflow:5000"},
}
DEPLOYMENT: Object = {
    "model": "cheese",
    "endpoints": [{"name": "judge", "openai": {"baseURL": "https://llm.example/v1", "model": "judge"}}],
    "evals": [{"name": "misalignment", "suite": "agentic-misalignment", "judge": "judge"}],
    "gates": [{"metric": "misalignment.rate", "minimum": 0.1}],
}


def run(name: str, namespace: str, spec: Object) -> Object:
    """An MSMRun object."""
    return {"apiVersion": API_VERSION, "kind": "MSMRun", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def small(name: str, namespace: str, **more: Any) -> Object:
    """A run with one arm and one demonstration set."""
    spec = {
        "baseModel": FULL["baseModel"],
        "demonstrations": [{"name": "cheese", **CHEESES}],
        "arms": [{"name": "aft", "finetune": ["cheese"]}],
    }
    return run(name, namespace, copy.deepcopy(spec) | more)


def full(name: str, namespace: str, change: Callable[[Object], None] = lambda spec: None) -> Object:
    """A run with something of everything, changed."""
    spec = copy.deepcopy(FULL)
    change(spec)
    return run(name, namespace, spec)


def deployment(name: str, namespace: str, change: Callable[[Object], None] = lambda spec: None) -> Object:
    """An EvalDeployment, changed."""
    spec = copy.deepcopy(DEPLOYMENT)
    change(spec)
    return {"apiVersion": API_VERSION, "kind": "EvalDeployment", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def path(one: Object, subresource: str = "") -> str:
    """Where an object is at the API server."""
    plural = {"MSMRun": "msmruns", "EvalDeployment": "evaldeployments"}[one["kind"]]
    whole = f"/apis/{API_VERSION}/namespaces/{one['metadata']['namespace']}/{plural}/{one['metadata']['name']}"
    return f"{whole}/{subresource}" if subresource else whole


def try_create(api: Api, one: Object, **query: str) -> Reply:
    """What the API server would say to a new object; strict, as kubectl asks."""
    return api.request("POST", path(one).rsplit("/", 1)[0], one, **{"dryRun": "All", "fieldValidation": "Strict", **query})


def install_definitions(api: Api) -> None:
    """Install both definitions, and wait until the API server also describes them, which is what `kubectl explain` reads."""
    crds.install(api, [definition.to_dict() for definition in DEFINITIONS])
    deadline = time.monotonic() + DESCRIBED_SECONDS
    while not all(definition.kind in str(api.request("GET", DESCRIPTION).body) for definition in DEFINITIONS):
        assert time.monotonic() < deadline, "the API server does not describe its definitions"
        time.sleep(0.2)
