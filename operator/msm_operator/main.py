"""The operator's program: reads its settings, follows what it needs, runs the controllers while it leads.

`python -m msm_operator [--kubeconfig FILE]`; everything else by environment, as the chart sets it. Neighbours: `runtime.manager` runs what
is put together here. Invariant: nothing is imported or opened before the settings are known to be right.
"""

import argparse
import asyncio
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from msm.clock import Clock, SystemClock
from msm.errors import UserError
from msm.resolve.clients import Clients
from msm.stages.outside import process_clients
from msm.store import StoreConfig
from msm_operator.backends.installation import Installation, installation
from msm_operator.backends.names import MANAGED_BY, MANAGER, RUN
from msm_operator.controllers.background import Background
from msm_operator.controllers.documents import Stores
from msm_operator.controllers.msmrun import MSMRunReconciler
from msm_operator.controllers.rooms import Caches, Installed, Rooms
from msm_operator.controllers.tracking import Tracker
from msm_operator.promotion import assemble as promotion
from msm_operator.runtime.api import Api
from msm_operator.runtime.cache import trimmed
from msm_operator.runtime.connection import Connection, configuration
from msm_operator.runtime.controller import Controller, Work, label_key, owner_keys
from msm_operator.runtime.errors import NotFound
from msm_operator.runtime.leader import LeaseTiming
from msm_operator.runtime.manager import Followed, Manager, Settings, until_asked
from msm_operator.runtime.metrics import Metrics
from msm_operator.runtime.resources import DEPLOYMENTS, INFERENCESERVICES, JOBS, MSMRUNS, PODS, PYTORCHJOBS, Resource
from msm_operator.runtime.seams import Key

log = logging.getLogger(__name__)
OURS = f"{MANAGED_BY}={MANAGER}"
WORKERS = 8
KEPT_CLIENTS = 64
"""Stores whose connections to inputs are kept; one a credential."""


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run until SIGTERM; the exit code."""
    parser = argparse.ArgumentParser(prog="msm-operator", description="Turns MSMRuns into jobs, endpoints and MLflow records.")
    parser.add_argument("--kubeconfig", type=Path, help="default: the pod's ServiceAccount")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        said, settings = installation(environ), replica_settings(environ)
    except UserError as error:
        log.error("%s", error)
        return int(error.exit_code)
    with tempfile.TemporaryDirectory(prefix="msm-operator-") as scratch:
        asyncio.run(serve(chosen.kubeconfig, said, settings, Path(environ.get("MSM_CACHE", scratch))))
    return 0


def replica_settings(environ: Mapping[str, str]) -> Settings:
    """How this replica follows, leads and answers probes.

    Raises:
        UserError: POD_NAMESPACE is missing, or a port or a duration is no number.
    """
    if not environ.get("POD_NAMESPACE"):
        raise UserError("POD_NAMESPACE", "is not set", "set it to the namespace of the operator's Lease")
    port = environ.get("MSM_HEALTH_PORT", "8081")
    if not port.isdecimal():
        raise UserError("MSM_HEALTH_PORT", f'"{port}" is no port', "give a number")
    lease = environ.get("MSM_LEASE_SECONDS", "15")
    if not lease.isdecimal() or int(lease) < 1:
        raise UserError("MSM_LEASE_SECONDS", f'"{lease}" is no number of seconds', "give a whole number from 1")
    namespaces = tuple(filter(None, environ.get("MSM_WATCH_NAMESPACES", "").split(","))) or ("",)
    return Settings(
        lease=Key(environ["POD_NAMESPACE"], "msm-operator"),
        timing=LeaseTiming.of(int(lease)),
        namespaces=namespaces,
        health_host=environ.get("MSM_HEALTH_HOST", ""),
        health_port=int(port),
    )


async def serve(kubeconfig: Path | None, said: Installation, settings: Settings, cache: Path) -> None:
    """One replica, until it is asked to end."""
    metrics = Metrics()
    connection = Connection(await configuration(kubeconfig), metrics, settings.identity)
    api = Api(connection)
    manager = Manager(api, settings, metrics)
    ends = assemble(manager, api, said, cache, SystemClock())
    try:
        await until_asked(manager)
    finally:
        for end in ends:
            end()
        await connection.close()


def assemble(manager: Manager, api: Api, said: Installation, cache: Path, clock: Clock) -> list[Callable[[], None]]:
    """Follow what the controllers read, have them look at every object; returns what is to be called at the end."""
    followed = follow(manager)
    controllers: list[Controller] = []
    wake = waker(controllers)
    background, tracker = Background(wake), Tracker(clock, _from_thread(wake))
    stores, get = Stores(clock), partial(get_or_none, api)

    @lru_cache(maxsize=KEPT_CLIENTS)
    def clients(config: StoreConfig) -> Clients:
        return process_clients(cache, config, _environment(said))

    rooms = Rooms(
        caches=Caches(*(one.store for one in followed)),
        writer=manager.writer,
        get=get,
        installed=installed(followed),
        installation=said,
        stores=stores,
        background=background,
        tracker=tracker,
        clients=clients,
        clock=clock,
        cache_directory=cache,
    )
    controllers.append(control_runs(manager, followed, rooms))
    shared = promotion.Shared(followed.jobs, followed.pods, followed.services, followed.deployments)
    others, aliases = promotion.add(manager, shared, get, said, stores, clients, clock, cache)
    tracker.start()
    return [tracker.stop, background.close, others.close, aliases.close]


def control_runs(manager: Manager, followed: "Kinds", rooms: Rooms) -> Controller:
    """Have the MSMRun controller look at every run, and at one whose children, pods or endpoints change."""
    owned, labelled = owner_keys(MSMRUNS.api_version, MSMRUNS.kind), label_key(RUN)
    related = [(one, owned) for one in (followed.jobs, followed.pytorch_jobs, followed.services)]
    related += [(one, labelled) for one in (followed.pods, followed.deployments)]
    return manager.control("msmrun", MSMRunReconciler(rooms), followed.runs, related=related, work=Work(workers=WORKERS))


def installed(followed: "Kinds") -> Installed:
    """What the cluster has, by what is followed."""
    return Installed(lambda: followed.pytorch_jobs.served, lambda: followed.services.served, followed.pods.current_for)


class Kinds(NamedTuple):
    """What the MSMRun controller follows, in the order of its caches."""

    runs: Followed
    jobs: Followed
    pytorch_jobs: Followed
    pods: Followed
    services: Followed
    deployments: Followed


def follow(manager: Manager) -> Kinds:
    """Follow what the MSMRun controller reads."""
    return Kinds(
        runs=manager.follow(MSMRUNS),
        jobs=manager.follow(JOBS, labels=OURS, trim=_without_template),
        pytorch_jobs=manager.follow(PYTORCHJOBS, labels=OURS, optional=True, trim=_without_template),
        pods=manager.follow(PODS, labels=OURS, trim=_only_what_happened),
        services=manager.follow(INFERENCESERVICES, labels=OURS, optional=True),
        deployments=manager.follow(DEPLOYMENTS, labels=OURS),
    )


def _environment(said: Installation) -> dict[str, str]:
    """What resolving needs of this process's environment: the mirror and the model registry; credentials come with the store."""
    named = {"MSM_MIRROR": said.mirror, "MLFLOW_TRACKING_URI": said.tracking_uri}
    return {name: value for name, value in named.items() if value is not None}


def waker(controllers: Sequence[Controller]) -> Callable[[Key], None]:
    """What has every controller look at an object."""

    def wake(key: Key) -> None:
        for controller in controllers:
            if controller.queue is not None:
                controller.queue.add(key)

    return wake


def _from_thread(wake: Callable[[Key], None]) -> Callable[[Key], None]:
    loop = asyncio.get_running_loop()

    def from_thread(key: Key) -> None:
        loop.call_soon_threadsafe(wake, key)

    return from_thread


async def get_or_none(api: Api, resource: Resource, key: Key) -> Mapping[str, Any] | None:
    """One object as the server has it now; None where there is none."""
    try:
        return await api.get(resource, key)
    except NotFound:
        return None


def _only_what_happened(pod: dict[str, Any]) -> dict[str, Any]:
    """A pod without its specification, which was ours."""
    return {**trimmed(pod), "spec": {"nodeName": pod.get("spec", {}).get("nodeName", "")}}


def _without_template(job: dict[str, Any]) -> dict[str, Any]:
    """A job without its pod templates."""
    spec = {name: value for name, value in job.get("spec", {}).items() if name in ("runPolicy", "suspend")}
    return {**trimmed(job), "spec": spec}
