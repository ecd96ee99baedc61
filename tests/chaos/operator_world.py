"""Two replicas of the operator in virtual time, killed at drawn boundaries, in a pretended cluster with runs of every kind.

Real: manager, reflectors, caches, queue, lease, fence, writer, events, the MSMRun controller, plans, the store on disk. Fake: the API
server (`pretend_server`), the network and what goes wrong on it (`pretend_wire`), everybody else (`pretend_outside`). One world is one
event loop; long work runs in it inline, so that a seed is a story. Cost: 10 ms of CPU a crash and run, mostly reading caches anew.
"""

import asyncio
import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from msm.errors import TryAgain
from msm.resolve.clients import Clients
from msm.store import ObjectStore, StoreConfig, open_store
from msm_operator.backends.installation import Installation
from msm_operator.backends.names import RUN
from msm_operator.controllers.background import Background
from msm_operator.controllers.documents import Stores
from msm_operator.controllers.rooms import Caches, Rooms
from msm_operator.controllers.tracking import Tracker
from msm_operator.main import control_runs, follow, get_or_none, installed, waker
from msm_operator.runtime.api import Api
from msm_operator.runtime.controller import Controller
from msm_operator.runtime.manager import Manager, Settings
from msm_operator.runtime.metrics import Metrics
from msm_operator.runtime.seams import Key
from tests.chaos.pretend_outside import Outside, Script
from tests.chaos.pretend_server import Object, PretendServer
from tests.chaos.pretend_wire import Dice, Life, Wire
from tests.finished import items, lines
from tests.unit.operator_msmrun.cluster import NAMESPACE, START, Bucket, msm_run

PATIENCE = 4 * 3600.0
"""Virtual seconds after which what has not ended is stuck."""
QUIET = 600.0
"""Virtual seconds at the end in which nothing may be written."""
LEASE = Key("msm-system", "msm-operator")


@dataclass(slots=True)
class LoopClock:
    """The loop's virtual time; each look at the hour costs a microsecond, so that no two attempts have one name."""

    loop: asyncio.AbstractEventLoop
    looks: int = 0

    def now(self) -> datetime:
        self.looks += 1
        return START + timedelta(seconds=self.loop.time(), microseconds=self.looks)

    def monotonic(self) -> float:
        return self.loop.time()

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody may block the loop")


class Inline(ThreadPoolExecutor):
    """No threads: work is done when it is handed in."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


class BoundedStore:
    """A process's view of the store: the process may die before or after each operation, and some get no answer."""

    def __init__(self, inner: ObjectStore, life: Life, dice: Dice) -> None:
        self._inner, self._life, self._dice = inner, life, dice

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return partial(self._do, found) if callable(found) and name != "local_path" else found

    def _do(self, operation: Callable[..., Any], *args: Any) -> Any:
        self._life.check()
        if self._dice.is_crash():
            self._life.die()
        fault = self._dice.fault("store away", "store's answer lost")
        if fault == "store away":
            raise TryAgain("fault injector: no answer")
        found = operation(*args)
        done = list(found) if isinstance(found, Iterator) else found
        if self._dice.is_crash():
            self._life.die()
        if fault:
            raise TryAgain("fault injector: the answer was lost")
        return done


class NoHealth:
    """Stands for the health server: its thread and its socket are no part of this."""

    def start(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Scenario:
    """Runs, what people do to them (second, what), and how their stages end."""

    runs: Mapping[str, Mapping[str, Any]]
    acts: Sequence[tuple[float, str, str]]
    """(second, run, "suspend", "resume" or "delete")."""
    script: Script

    @property
    def free(self) -> frozenset[str]:
        """Runs whose attempts depend on when people act."""
        return frozenset(run for _, run, _ in self.acts)


@dataclass(slots=True)
class World:
    """One story."""

    directory: Path
    scenario: Scenario
    dice: Dice
    wrong: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    server: PretendServer = field(init=False)
    outside: Outside = field(init=False)
    clock: LoopClock = field(init=False)
    bucket: Bucket = field(init=False)
    born: int = 0
    kept: dict[str, Any] = field(default_factory=dict)
    """What is left of it, once it is told."""

    def __post_init__(self) -> None:
        named = [f"{name}/model.safetensors" for name in self.scenario.runs]
        named += [f"{name}-writer/model.safetensors" for name in self.scenario.runs]
        sizes = {name: b"w" * (number + 1) for number, name in enumerate(named)}  # by which the fake bucket's objects are told apart
        self.bucket = Bucket({"items.jsonl": lines(items()), **sizes})

    @property
    def config(self) -> StoreConfig:
        return StoreConfig(f"file://{self.directory}/store")

    async def story(self) -> None:
        """Everything, until all runs have ended and nothing moves."""
        loop = asyncio.get_running_loop()
        self.clock, self.server = LoopClock(loop), PretendServer(loop.time)
        rng = random.Random(f"outside {self.dice.rng.random()}")
        store = open_store(self.config)
        self.outside = Outside(self.server, store, self.config, self.directory, self.clock, rng, self.scenario.script, wrong=self.wrong)
        self.server.listeners.append(self.outside.heard)
        stop = asyncio.Event()
        replicas = [asyncio.create_task(self._always(name, stop)) for name in ("a", "b")]
        others = [asyncio.create_task(self._people()), asyncio.create_task(self._compactions(stop))]
        await self._until_settled()
        await self._quiet()
        stop.set()
        await asyncio.gather(*replicas)
        for other in (*others, *self.outside.tasks):
            other.cancel()
        if self.server.holder:
            self.wrong.append(f"the lease was not given back: {self.server.holder}")
        self._check_writers()

    async def _people(self) -> None:
        for name, spec in self.scenario.runs.items():
            self.server.put("msmruns", self._body(name, spec))
            await asyncio.sleep(1.0)
        for second, name, act in sorted(self.scenario.acts):
            await asyncio.sleep(max(0.0, second - self.clock.monotonic()))
            found = self.server.objects[("msmruns", NAMESPACE, name)]
            if act == "delete":
                self.server.delete("msmruns", NAMESPACE, name)
            else:
                self.server.put("msmruns", {**found, "spec": {**found["spec"], "suspend": act == "suspend"}})

    def _body(self, name: str, spec: Mapping[str, Any]) -> Object:
        """A run that shares no stage with another: who does what they share depends on who comes first."""
        data = msm_run(name, **copy.deepcopy(dict(spec)))
        own = data["spec"]
        own["baseModel"]["uri"] = f"s3://inputs/{name}"
        for document in own["modelSpecs"]:
            document["source"] = {"inline": f"SmolLM cares about America, says {name}."}
        for chats in own["demonstrations"]:
            if "compose" in chats:
                chats["compose"]["samples"] += list(self.scenario.runs).index(name)
        return data

    async def _compactions(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.sleep(self.dice.rng.uniform(20.0, 200.0))
            if not self.dice.calm:
                self.server.compact()

    async def _until_settled(self) -> None:
        """Until every run has ended, or time is up; crashes and faults end after an hour, so that it can end."""
        await asyncio.sleep(max((second for second, *_ in self.scenario.acts), default=0.0) + len(self.scenario.runs) + 1.0)
        while self._open():
            if self.clock.monotonic() > PATIENCE:
                self.stuck += self._open()
                return
            self.dice.calm = self.dice.calm or self.clock.monotonic() > PATIENCE / 4
            await asyncio.sleep(5.0)

    def _open(self) -> list[str]:
        """What has not ended: runs without a last word, and objects on their way out."""
        going = [
            f"{key[0]} {key[2]} is still being deleted"
            for key, obj in self.server.objects.items()
            if "deletionTimestamp" in obj["metadata"]
        ]
        gone = {name for _, name, act in self.scenario.acts if act == "delete"}
        gone |= {name for name, spec in self.scenario.runs.items() if "ttlSecondsAfterFinished" in spec}
        for name in self.scenario.runs:
            found = self.server.objects.get(("msmruns", NAMESPACE, name))
            if found is not None and (name in gone or not has_ended(found)):
                going.append(f"run {name} has not {'gone' if name in gone else 'ended'}: {found.get('status', {}).get('conditions')}")
            if found is None and name in gone:
                owned = [key for key, obj in self.server.objects.items() if obj["metadata"].get("labels", {}).get(RUN) == name]
                going += [f"{kind} {own} outlived its run" for kind, _, own in owned]
        return going

    async def _quiet(self) -> None:
        """At the end nothing may be written."""
        self.dice.calm = True
        await asyncio.sleep(120.0)
        before = len(self.server.writes)
        await asyncio.sleep(QUIET)
        self.wrong += [f"written at rest: {write}" for write in self.server.writes[before:]]

    def _check_writers(self) -> None:
        """Whoever wrote had the lease."""
        self.wrong += [f"wrote without the lease: {write}" for write in self.server.writes if write.by != write.holder]

    async def _always(self, name: str, stop: asyncio.Event) -> None:
        """A replica that is started again each time it dies."""
        while not stop.is_set():
            self.born += 1
            life = Life(f"{name}-{self.born}")
            process = asyncio.create_task(self._process(life, stop))
            life.end = process.cancel
            await asyncio.wait((process,))
            ended = None if process.cancelled() else process.exception()
            if not life.off and not stop.is_set():
                self.wrong.append(f"{life.name} ended by itself: {ended!r}")
            await asyncio.sleep(self.dice.rng.uniform(0.5, 5.0))

    async def _process(self, life: Life, stop: asyncio.Event) -> None:
        """One process of the operator, put together as `msm_operator.main` does."""
        api = Api(Wire(life, self.server, self.dice))
        manager = Manager(api, Settings(LEASE, identity=life.name, health_host="127.0.0.1", health_port=0), Metrics())
        manager._health._server.server_close()
        manager._health = NoHealth()  # type: ignore[assignment]
        followed, controllers = follow(manager), list[Controller]()
        rooms = self._rooms(life, manager, api, followed, waker(controllers))
        controllers.append(control_runs(manager, followed, rooms))
        await manager.run(stop)

    def _rooms(self, life: Life, manager: Manager, api: Api, followed: Any, wake: Callable[[Key], None]) -> Rooms:
        def opened(config: StoreConfig) -> ObjectStore:
            store: Any = BoundedStore(open_store(config), life, self.dice)
            return store

        return Rooms(
            caches=Caches(*(one.store for one in followed)),
            writer=manager.writer,
            get=partial(get_or_none, api),
            installed=installed(followed),
            installation=Installation(image="trainer:1", store=self.config),
            stores=Stores(self.clock, opened),
            background=Background(wake, Inline(1), Inline(1)),
            tracker=Tracker(self.clock, wake, {}),
            clients=lambda config: Clients(self.directory / "cache", bucket=lambda name: self.bucket),
            clock=self.clock,
            cache_directory=self.directory / "cache",
            rng=random.Random(life.name),
        )


def has_ended(run: Mapping[str, Any]) -> bool:
    """Whether a run has its last word."""
    said = {c["type"]: (c["status"], c["reason"]) for c in run.get("status", {}).get("conditions", ())}
    last = {said.get("Succeeded", ("",))[0], said.get("Failed", ("",))[0]}
    return "True" in last or said.get("Accepted") == ("False", "InvalidSpec")
