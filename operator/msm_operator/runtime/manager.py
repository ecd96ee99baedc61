"""Puts the parts together: caches from the start, controllers while this replica leads, health from a thread, a graceful end.

The program makes one `Manager`, tells it what to follow and who reconciles, and awaits `run`. Invariants: caches are synced and their
watches open before a controller works; controllers have stopped and events are sent before the lease is given back; a part that fails
ends the process, which is better than going on without it. Losing the lease ends the controllers, not the caches.
"""

import asyncio
import logging
import random
import secrets
import signal
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from msm_operator.runtime.api import Api, Selection
from msm_operator.runtime.cache import Store, Trim, trimmed
from msm_operator.runtime.controller import Controller, Mapper, Work
from msm_operator.runtime.events import Recorder
from msm_operator.runtime.health import Checks, HealthServer, Heartbeat
from msm_operator.runtime.leader import Elector, Fence, LeaseTiming
from msm_operator.runtime.metrics import Metrics
from msm_operator.runtime.reflector import Patience, Reflector
from msm_operator.runtime.resources import Resource
from msm_operator.runtime.seams import Key, Reconciler
from msm_operator.runtime.writer import LeaderWriter

log = logging.getLogger(__name__)
CONTROLLER = "modelspec.dev/msm-operator"


def own_identity() -> str:
    """A name for this process that no other has, and no earlier process of this pod had."""
    return f"{socket.gethostname()}_{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Settings:
    """How one replica runs."""

    lease: Key
    identity: str = field(default_factory=own_identity)
    timing: LeaseTiming = field(default_factory=LeaseTiming)
    patience: Patience = field(default_factory=Patience)
    namespaces: tuple[str, ...] = ("",)
    """Which namespaces are followed; the empty one means all."""
    health_host: str = ""
    health_port: int = 8081
    grace_s: float = 20.0
    """How long passes under way may take once the process is asked to end."""
    stuck_loop_s: float = 30.0
    stuck_pass_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Followed:
    """One kind that is followed: its store, and whether the cluster has it at all."""

    resource: Resource
    store: Store
    reflectors: tuple[Reflector, ...]

    @property
    def served(self) -> bool:
        """Whether the cluster has this kind, as far as the last look tells."""
        return all(reflector.served for reflector in self.reflectors)

    def current_for(self) -> float:
        """Seconds since when the store has missed nothing; 0 while it may."""
        return min(reflector.current_for() for reflector in self.reflectors)


class Manager:
    """One replica of the operator."""

    def __init__(self, api: Api, settings: Settings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self._api = api
        self.fence = Fence(grace=(settings.timing.duration - settings.timing.renew_deadline) / 2)
        self.elector = Elector(api, settings.lease, settings.identity, self.fence, metrics, timing=settings.timing, rng=self._rng("lease"))
        self._recorder = Recorder(api, self.fence, metrics, controller=CONTROLLER, instance=settings.identity)
        self.writer = LeaderWriter(api, self.fence, self._recorder)
        self._followed: list[Followed] = []
        self._controllers: list[Controller] = []
        self._heartbeat = Heartbeat(limit=settings.stuck_loop_s)
        self._health = HealthServer(Checks(self._alive, self._ready, metrics.text), host=settings.health_host, port=settings.health_port)

    @property
    def health_port(self) -> int:
        """Where health and metrics are answered."""
        return self._health.port

    def follow(
        self,
        resource: Resource,
        *,
        labels: str = "",
        metadata_only: bool = False,
        optional: bool = False,
        indexed: Iterable[str] = (),
        trim: Trim = trimmed,
    ) -> Followed:
        """Keep a store of `resource`, of the labels where given; `optional` where a cluster may lack the kind."""
        store, reflectors = Store(indexed=indexed, trim=trim), []
        for namespace in self.settings.namespaces if resource.namespaced else ("",):
            chosen = Selection(resource, namespace, labels, metadata_only=metadata_only)
            rng = self._rng(chosen)
            one = Reflector(self._api, chosen, store, self.metrics, optional=optional, patience=self.settings.patience, rng=rng)
            self.writer.freshen(chosen, store)
            reflectors.append(one)
        followed = Followed(resource, store, tuple(reflectors))
        self._followed.append(followed)
        return followed

    def control(
        self,
        name: str,
        reconciler: Reconciler,
        primary: Followed,
        *,
        related: Sequence[tuple[Followed, Mapper]] = (),
        work: Work | None = None,
    ) -> Controller:
        """Have `reconciler` look at each object of `primary`, and at those that a change of a related object concerns."""
        controller = Controller(name, reconciler, primary.store, self.metrics, work=work, rng=self._rng(name))
        for reflector in primary.reflectors:
            reflector.on_change(controller.on_primary)
        for followed, concerns in related:
            for reflector in followed.reflectors:
                reflector.on_change(controller.on_related(concerns))
        self._controllers.append(controller)
        return controller

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then end in order. Raises what ended a part that should not have ended."""
        self._health.start()
        try:
            async with asyncio.TaskGroup() as group:
                runs = [self._heartbeat.run(), self._recorder.run(), *(reflector.run() for reflector in self._reflectors())]
                parts = [group.create_task(run) for run in runs]
                await self._synced(stop)
                while not stop.is_set():
                    await self._term(stop)
                await self._end()
                for part in parts:
                    part.cancel()
        finally:
            self.fence.shut()
            self._health.close()

    async def _synced(self, stop: asyncio.Event) -> None:
        log.info("following %s", ", ".join(followed.resource.plural for followed in self._followed))
        await _first(stop, *(reflector.synced for reflector in self._reflectors()))

    async def _term(self, stop: asyncio.Event) -> None:
        """From candidate to leader to either stopped or candidate again."""
        campaign = asyncio.create_task(self.elector.campaign())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((campaign, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            campaign.cancel()
            await asyncio.wait((campaign,))
        if not campaign.cancelled():
            campaign.result()
            await self.elector.lead(lambda: self._work(stop))

    async def _work(self, stop: asyncio.Event) -> None:
        """Run every controller until `stop`, and for as long after it as passes under way may take."""
        await _first(stop, *(reflector.live for reflector in self._reflectors()))
        async with asyncio.TaskGroup() as group:
            working = [group.create_task(controller.run(stop), name=controller.name) for controller in self._controllers]
            limit = group.create_task(self._cancel_late(stop, working))
            await stop.wait()
            await asyncio.gather(*working, return_exceptions=True)
            limit.cancel()

    async def _cancel_late(self, stop: asyncio.Event, working: Sequence[asyncio.Task[None]]) -> None:
        await stop.wait()
        await asyncio.sleep(self.settings.grace_s)
        log.warning("passes still under way after %.0f s are cancelled; the next leader looks at them again", self.settings.grace_s)
        for task in working:
            task.cancel()

    async def _end(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await self._recorder.flush()
        await self.elector.give_back()

    def _rng(self, what: object) -> random.Random:
        """Chance for one part: others for each replica, the same for one identity."""
        return random.Random(f"{self.settings.identity}{what}")

    def _reflectors(self) -> list[Reflector]:
        return [reflector for followed in self._followed for reflector in followed.reflectors]

    def _alive(self) -> str:
        trouble = self._heartbeat.trouble()
        slow = [controller for controller in self._controllers if controller.longest_running() > self.settings.stuck_pass_s]
        return trouble or "; ".join(f"a pass of {one.name} has taken {one.longest_running():.0f} s" for one in slow)

    def _ready(self) -> str:
        missing = [reflector.chosen.resource.plural for reflector in self._reflectors() if not reflector.synced.is_set()]
        return f"not yet listed: {', '.join(missing)}" if missing else ""


async def until_asked(manager: Manager) -> None:
    """Run `manager` until SIGTERM or SIGINT."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await manager.run(stop)


async def _first(stop: asyncio.Event, *awaited: asyncio.Event) -> None:
    """Return when all of `awaited` are set, or `stop` is."""

    async def all_set() -> None:
        for event in awaited:
            await event.wait()

    tasks = [asyncio.create_task(all_set()), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
