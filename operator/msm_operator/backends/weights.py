"""What one server holds: a model, or a base with adapters as LoRA modules, and how vLLM and KServe are told.

Pure. Neighbours: `serving` renders it; arms of an eval and versions of an EvalDeployment are served by it. Invariant: weights are read by
KServe's storage initializer, the base and each adapter into directories of their own below one parent, as KServe demands of several
addresses. vLLM compiles for a largest LoRA rank out of a list and takes 16 where none is stated, so it is always stated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msm.store.manifest import Manifest

MODELS = "/mnt/models"
BASE = f"{MODELS}/base"
ADAPTER = "adapter_config.json"
"""The file by which an artifact is an adapter."""
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""What our adapters change. Told to vLLM, since it otherwise makes room in the output layer too, and `prompt_logprobs`, by which arms are
scored, then fails on a processor (vllm-project/vllm#16668; found on a real node with 0.32)."""
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Largest ranks that vLLM can be told."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What one server holds: the base (or a full model) by address, and adapters by the name that clients ask for.

    `name` is what clients call the base itself; `rank` the largest of the adapters'.
    """

    base: str
    name: str
    adapters: Mapping[str, str] = field(default_factory=dict)
    rank: int = 0


def arguments(weights: Weights) -> list[str]:
    """What vLLM is told of its models."""
    if not weights.adapters:
        return [f"--model={MODELS}", f"--served-model-name={weights.name}"]
    modules = [f"{name}={path}" for name, path in adapter_paths(weights).items()]
    largest = next((rank for rank in RANKS if rank >= weights.rank), RANKS[-1])
    lora = ["--enable-lora", f"--max-lora-rank={largest}", f"--max-loras={len(modules)}", "--lora-modules", *modules]
    lora += ["--lora-target-modules", *TARGETS]
    return [f"--model={BASE}", f"--served-model-name={weights.name}", *lora]


def adapter_paths(weights: Weights) -> dict[str, str]:
    """Where each adapter lies in the container, by name."""
    return {name: f"{MODELS}/adapters/{number}" for number, name in enumerate(sorted(weights.adapters))}


def storage(weights: Weights) -> dict[str, Any]:
    """Where KServe puts what: the part of a predictor that says so."""
    if not weights.adapters:
        return {"model": {"storageUri": weights.base}}
    paths = adapter_paths(weights)
    adapters = [{"uri": weights.adapters[name], "mountPath": path} for name, path in paths.items()]
    return {"storageUris": [{"uri": weights.base, "mountPath": BASE}, *adapters]}


def rank(manifest: Manifest) -> int:
    """Rank of a LoRA adapter; 0 where its manifest does not say."""
    method = manifest.params.get("method")
    lora = method.get("lora") if isinstance(method, dict) else None
    found = lora.get("rank") if isinstance(lora, dict) else None
    return found if isinstance(found, int) else 0
