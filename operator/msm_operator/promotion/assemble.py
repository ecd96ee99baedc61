"""Puts the EvalDeployment controller into a replica that follows what runs need already.

`main` calls `add` after it has assembled the MSMRun controller. Neighbours: `runtime.manager`. Invariant: a kind that both controllers read
is followed once.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from msm.clock import Clock
from msm.resolve.clients import Clients
from msm.store import StoreConfig
from msm_operator.backends.installation import Installation
from msm_operator.backends.names import MANAGED_BY, MANAGER
from msm_operator.controllers.background import Background
from msm_operator.controllers.documents import Stores
from msm_operator.promotion.aliases import AliasReader
from msm_operator.promotion.controller import POLL, EvalDeploymentReconciler
from msm_operator.promotion.names import DEPLOYMENT
from msm_operator.promotion.rooms import Caches, Rooms
from msm_operator.runtime.controller import Controller, Work, label_key, owner_keys
from msm_operator.runtime.manager import Followed, Manager
from msm_operator.runtime.resources import EVALDEPLOYMENTS, SERVICES, Resource
from msm_operator.runtime.seams import Key

OURS = f"{MANAGED_BY}={MANAGER}"
WORKERS = 4
Get = Callable[[Resource, Key], Awaitable[Mapping[str, Any] | None]]


@dataclass(frozen=True, slots=True)
class Shared:
    """What both controllers follow: Jobs, pods, InferenceServices and Deployments of ours."""

    jobs: Followed
    pods: Followed
    services: Followed
    workloads: Followed


def add(
    manager: Manager,
    shared: Shared,
    get: Get,
    said: Installation,
    stores: Stores,
    clients: Callable[[StoreConfig], Clients],
    clock: Clock,
    cache_directory: Path,
    *,
    aliases: AliasReader | None = None,
    poll: timedelta = POLL,
) -> tuple[Background, AliasReader]:
    """Follow EvalDeployments and their Services, and have the controller look at each; close what is returned at the end."""
    deployments = manager.follow(EVALDEPLOYMENTS)
    addresses = manager.follow(SERVICES, labels=OURS)
    controllers: list[Controller] = []
    background, aliases = Background(partial(_wake, controllers)), aliases or AliasReader(clock)
    rooms = Rooms(
        caches=Caches(
            deployments.store, shared.services.store, shared.workloads.store, addresses.store, shared.jobs.store, shared.pods.store
        ),
        writer=manager.writer,
        get=get,
        serving=lambda: shared.services.served,
        installation=said,
        stores=stores,
        background=background,
        aliases=aliases,
        clients=clients,
        clock=clock,
        cache_directory=cache_directory,
    )
    owned, labelled = owner_keys(EVALDEPLOYMENTS.api_version, EVALDEPLOYMENTS.kind), label_key(DEPLOYMENT)
    related = [(shared.jobs, owned), (shared.services, owned), (addresses, owned), (shared.pods, labelled), (shared.workloads, labelled)]
    controllers.append(
        manager.control("evaldeployment", EvalDeploymentReconciler(rooms, poll), deployments, related=related, work=Work(workers=WORKERS))
    )
    return background, aliases


def _wake(controllers: list[Controller], key: Key) -> None:
    for controller in controllers:
        if controller.queue is not None:
            controller.queue.add(key)
