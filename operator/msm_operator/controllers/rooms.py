"""What the MSMRun controller works with: caches, the writer, the store, threads, the clock; made by `main`, or by a test.

Neighbours: `msmrun` reads and acts through it. Invariant: everything that touches the outside is in here, so that a test replaces it.
"""

import math
import random
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
from msm_operator.controllers.tracking import Tracker
from msm_operator.runtime.resources import Resource
from msm_operator.runtime.seams import Cache, Key, Writer

Get = Callable[[Resource, Key], Awaitable[Mapping[str, Any] | None]]
"""One object as the server has it now, or None; for what is read rarely and not followed."""


@dataclass(frozen=True, slots=True)
class Caches:
    """What is followed."""

    runs: Cache
    jobs: Cache
    pytorch_jobs: Cache
    pods: Cache
    services: Cache
    """InferenceServices."""
    deployments: Cache


@dataclass(frozen=True, slots=True)
class Installed:
    """What the cluster has, as far as the last look tells; and since how many seconds nothing of its pods was missed."""

    training: Callable[[], bool]
    serving: Callable[[], bool]
    pods_for: Callable[[], float] = lambda: math.inf


@dataclass(frozen=True, slots=True)
class Rooms:
    """Everything of one controller."""

    caches: Caches
    writer: Writer
    get: Get
    installed: Installed
    installation: Installation
    stores: Stores
    background: Background
    tracker: Tracker
    clients: Callable[[StoreConfig], Clients]
    clock: Clock
    cache_directory: Path
    rng: random.Random = field(default_factory=random.Random)
    walls: dict[str, str] = field(default_factory=dict)
    """Walls that stand; see `controllers.walls`."""
