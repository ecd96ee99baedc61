"""What the installation says: image, store, tracking, who holds which secret, how pods are dressed.

Frozen; read from the environment once, by `main`. Neighbours: renderers and acceptance read it. Invariant: it names secrets and holds at
most the operator's own store credential, in a field that no repr shows.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from msm.errors import UserError
from msm.store.config import StoreConfig
from msm_operator.backends.walls import Outside

TRACKING_CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@dataclass(frozen=True, slots=True)
class Installation:
    """One installation of the operator.

    `namespaced`: the operator serves the namespaces that it may read secrets of, and runs may bring stores of their own. `store_secret` and
    `hub_secret` (key `token`) name Secrets in the runs' namespaces. `grace_seconds` is what a pod has to checkpoint.
    """

    image: str
    store: StoreConfig | None = field(default=None, repr=False)
    store_secret: str = "msm-store"
    ca_config_map: str | None = None
    hub_secret: str | None = None
    tracking_uri: str | None = None
    has_tracking_credential: bool = False
    """Whether the process has a credential for MLflow, which MLflow shows to every server that it asks."""
    mirror: str | None = None
    namespaced: bool = False
    interpreter: str = "python"
    grace_seconds: int = 120
    shared_memory: str = "8Gi"
    scratch_size: str | None = None
    gpu_resource: str = "nvidia.com/gpu"
    gpu_precision: Literal["float32", "bfloat16"] = "bfloat16"
    pull_policy: str | None = None
    pull_secrets: tuple[str, ...] = ()
    serve_image: str = "vllm/vllm-openai:latest"
    serve_env: Mapping[str, str] = field(default_factory=dict)
    stage_resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    user: int = 65532
    eval_gpus: int = 1
    """GPUs of a server that is made to ask the arms of an eval."""
    network: Outside | None = None
    """What pods may reach besides what they name; None builds no walls."""


def installation(environ: Mapping[str, str]) -> Installation:
    """Read the MSM_… variables that the chart sets.

    Raises:
        UserError: a variable is missing or is no JSON.
    """
    if not environ.get("MSM_STAGE_IMAGE"):
        raise UserError("MSM_STAGE_IMAGE", "is not set", "name the image that stages run in")
    known = {
        "store_secret": "MSM_STORE_SECRET",
        "ca_config_map": "MSM_STORE_CA_CONFIGMAP",
        "hub_secret": "MSM_HUB_SECRET",
        "tracking_uri": "MSM_TRACKING_URI",
        "mirror": "MSM_MIRROR",
        "interpreter": "MSM_STAGE_PYTHON",
        "shared_memory": "MSM_STAGE_SHARED_MEMORY",
        "scratch_size": "MSM_STAGE_SCRATCH",
        "gpu_resource": "MSM_GPU_RESOURCE",
        "pull_policy": "MSM_STAGE_PULL_POLICY",
        "serve_image": "MSM_SERVE_IMAGE",
    }
    texts: dict[str, Any] = {name: environ[variable] for name, variable in known.items() if environ.get(variable)}
    return Installation(
        image=environ["MSM_STAGE_IMAGE"],
        store=StoreConfig.from_environ(environ) if environ.get("MSM_STORE_URI") else None,
        has_tracking_credential=any(environ.get(name) for name in TRACKING_CREDENTIALS),
        namespaced=environ.get("MSM_NAMESPACED", "") == "true",
        grace_seconds=int(environ.get("MSM_STAGE_GRACE_SECONDS", "120")),
        eval_gpus=int(environ.get("MSM_EVAL_GPUS", "1")),
        pull_secrets=tuple(filter(None, environ.get("MSM_STAGE_PULL_SECRETS", "").split(","))),
        stage_resources=_json(environ, "MSM_STAGE_RESOURCES"),
        serve_env=_json(environ, "MSM_SERVE_ENV"),
        network=_network(environ),
        **texts,
    )


def _network(environ: Mapping[str, str]) -> Outside | None:
    if not environ.get("MSM_RUN_NETWORK"):
        return None
    said = _json(environ, "MSM_RUN_NETWORK")
    for name in ("dns", "egress"):
        if not isinstance(said.get(name, []), list) or not all(isinstance(one, dict) for one in said.get(name, [])):
            raise UserError(f"MSM_RUN_NETWORK.{name}", "is no list of objects", 'give {"dns": [PEER…], "egress": [RULE…]}')
    return Outside(tuple(said.get("dns", ())), tuple(said.get("egress", ())))


def _json(environ: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        found = json.loads(environ.get(name) or "{}")
    except ValueError as error:
        raise UserError(name, f"is not JSON ({error})", 'give an object such as {"evaluate": {"limits": {"memory": "8Gi"}}}') from error
    if not isinstance(found, dict):
        raise UserError(name, "is not a JSON object", "give an object")
    return found
