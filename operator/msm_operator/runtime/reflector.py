"""Keeps a `Store` equal to what the API server has of one kind: list by pages, then watch, for ever.

Between `api` and `cache`; handlers learn of each change after the store has it. Invariants: only this task of a selection removes from
the store; after any failure it either goes on from the last version it saw or lists again, so nothing is missed for longer than one
backoff; an event from before what was seen is dropped. Cost: one connection, one decoding an event.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from msm_operator.runtime.api import PAGE, Api, Selection, WatchEvent
from msm_operator.runtime.cache import Change, Store, key_of, older, version_of
from msm_operator.runtime.errors import ApiError, Gone, NotFound
from msm_operator.runtime.metrics import Metrics
from msm_operator.runtime.seams import Key

Handler = Callable[[Change], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a reflector waits, in seconds."""

    first: float = 0.8
    """After the first failure; doubles with each further one."""
    most: float = 30.0
    """Never longer than this, jitter (up to as much again) aside."""
    unserved: float = 60.0
    """Between looks for a kind that the cluster may lack."""
    watch: tuple[int, int] = (300, 600)
    """How long a watch is asked to last, drawn anew each time, so that watches of many replicas do not end together."""
    brief: float = 1.0
    """A watch that ended within this time without an event counts as a failure."""

    def after(self, failures: int, rng: random.Random) -> float:
        """The pause after so many failures in a row."""
        return min(self.most, self.first * 2.0 ** min(failures - 1, 16)) * (1.0 + rng.random())


class Reflector:
    """Follows one selection into one store."""

    def __init__(
        self,
        api: Api,
        chosen: Selection,
        store: Store,
        metrics: Metrics,
        *,
        optional: bool = False,
        patience: Patience | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.chosen, self.store = chosen, store
        self.synced = asyncio.Event()
        """Set once a first list is in the store, or once it is known that an optional kind is not served."""
        self.live = asyncio.Event()
        """Set while a watch is open, so while the store is behind by no more than an event's way."""
        self._live_since = float("inf")
        self.served = True
        """Whether the cluster has this kind; only an optional one may be absent."""
        self._api, self._optional = api, optional
        self._patience = patience or Patience()
        self._rng = rng or random.Random()
        self._handlers: list[Handler] = []
        self._failures = 0
        self._position = ""
        plural = chosen.resource.plural
        self._lists = metrics.counter("msm_reflector_lists_total", "Lists of a kind, whole.", ("resource",))
        self._events = metrics.counter("msm_reflector_events_total", "Watch events by type; stale ones were dropped.", ("resource", "type"))
        self._troubles = metrics.counter("msm_reflector_failures_total", "Lists and watches that failed.", ("resource", "reason"))
        metrics.gauge("msm_reflector_objects", "Objects in the store.", ("resource",)).track(lambda: float(len(store)), plural)

    def current_for(self) -> float:
        """Seconds since when the store has been behind by no more than an event's way; 0 while it may miss something."""
        return max(0.0, asyncio.get_running_loop().time() - self._live_since) if self.live.is_set() else 0.0

    def on_change(self, handler: Handler) -> None:
        """Call `handler` with every change from now on; it must be quick and must not raise."""
        self._handlers.append(handler)

    async def run(self) -> None:
        """Never returns; ends by being cancelled."""
        while True:
            try:
                await self._list()
                await self._follow()
            except NotFound as absent:
                await self._not_served(absent)
            except ApiError as error:
                await self._wait_after(error)

    async def _list(self) -> None:
        keys: set[Key] = set()
        following, version = "", ""
        while True:
            page = await self._api.page(self.chosen, following=following, limit=self._page_size())
            if not version and older(page.resource_version, self._position):
                self.store.rewind(self.chosen.namespace)
            version = version or page.resource_version
            for item in page.items:
                keys.add(key_of(item))
                self._tell(self.store.put(item))
            following = page.following
            if not following:
                break
        for change in self.store.retain(keys, self.chosen.namespace, version):
            self._tell(change)
        self._position = version
        self.store.reached(version)
        self._lists.inc(plural := self.chosen.resource.plural)
        if not self.served:
            log.info("%s are served now", plural)
        self.served = True
        self.synced.set()

    async def _follow(self) -> None:
        """Watch after watch from the last version seen; ends by raising `Gone`, or `NotFound` where the kind went away."""
        while True:
            loop = asyncio.get_running_loop()
            begin, seen = loop.time(), 0
            try:
                async with self._api.watch(self.chosen, self._position, seconds=self._rng.randint(*self._patience.watch)) as events:
                    self._opened()
                    async for event in events:
                        seen += 1
                        self._failures = 0
                        self._take(event)
            except (Gone, NotFound):
                raise
            except ApiError as error:
                await self._wait_after(error)
                continue
            if seen or loop.time() - begin >= self._patience.brief:
                self._failures = 0
            else:
                await self._wait_after(ApiError(f"watch {self.chosen.resource.plural}: ended at once", why="Brief"))

    def _opened(self) -> None:
        if not self.live.is_set():
            self._live_since = asyncio.get_running_loop().time()
        self.live.set()

    def _page_size(self) -> int:
        """Pages, unless their tokens keep expiring before the list is through: then all at once."""
        return PAGE if self._failures < 3 else 0

    def _take(self, event: WatchEvent) -> None:
        version = version_of(event.object)
        stale = older(version, self._position)
        self._events.inc(self.chosen.resource.plural, "STALE" if stale else event.type)
        if stale:
            return
        self._position = version
        if event.type == "DELETED":
            self._tell(self.store.remove(key_of(event.object), version))
        elif event.type != "BOOKMARK":
            self._tell(self.store.put(event.object))
        self.store.reached(version)

    def _tell(self, change: Change | None) -> None:
        if change:
            for handler in self._handlers:
                handler(change)

    async def _not_served(self, absent: NotFound) -> None:
        if not self._optional:
            await self._wait_after(absent)
            return
        for change in self.store.retain(set(), self.chosen.namespace, ""):
            self._tell(change)
        self.served = False
        self.synced.set()
        self._opened()
        await asyncio.sleep(self._patience.unserved * (1.0 + self._rng.random()))

    async def _wait_after(self, error: ApiError) -> None:
        self._failures += 1
        self.live.clear()
        self._troubles.inc(self.chosen.resource.plural, error.why or type(error).__name__)
        pause = max(self._patience.after(self._failures, self._rng), error.retry_after or 0.0)
        log.log(logging.INFO if isinstance(error, Gone) else logging.WARNING, "%s; again in %.1f s", error, pause)
        await asyncio.sleep(pause)
