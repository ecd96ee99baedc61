"""What the EvalDeployment controller works with: caches, the writer, stores, threads, MLflow's aliases, the clock.

Neighbours: `controller` reads and acts through it, `assemble` makes it, tests replace it. Invariant: everything that touches the outside
is in here.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msm.clock import Clock
from msm.resolve.clients import Clients
from msm.store import StoreConfig
from msm_operator.backends.installation import Installation
from msm_operator.controllers.background import Background
from msm_operator.controllers.documents import Stores
from msm_operator.promotion.aliases import AliasReader
from msm_operator.promotion.scores import ScoreShelf
from msm_operator.runtime.resources import Resource
from msm_operator.runtime.seams import Cache, Key, Writer


@dataclass(frozen=True, slots=True)
class Caches:
    """What is followed."""

    deployments: Cache
    """EvalDeployments."""
    services: Cache
    """InferenceServices."""
    workloads: Cache
    """Deployments of apps/v1."""
    addresses: Cache
    """Services."""
    jobs: Cache
    pods: Cache


@dataclass(frozen=True, slots=True)
class Rooms:
    """Everything of one controller."""

    caches: Caches
    writer: Writer
    get: Callable[[Resource, Key], Awaitable[Mapping[str, Any] | None]]
    serving: Callable[[], bool]
    """Whether the cluster has InferenceServices, as far as the last look tells."""
    installation: Installation
    stores: Stores
    background: Background
    aliases: AliasReader
    clients: Callable[[StoreConfig], Clients]
    clock: Clock
    cache_directory: Path
    shelf: ScoreShelf = field(default_factory=ScoreShelf)
    walls: dict[str, str] = field(default_factory=dict)
    """Walls that stand; see `controllers.walls`."""
