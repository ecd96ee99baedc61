"""Workers that hand keys of a queue to a reconciler, and what its outcome means for the next look.

Between `queue` and a `seams.Reconciler`; `manager` wires and runs it. Invariants: whatever a reconcile does (raise, hang, be cancelled),
its key is `done` and looked at again if it failed, and the other workers go on; what others change is queued, the echo of our own
write is not.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from msm_operator.runtime.cache import Change, Store, key_of
from msm_operator.runtime.errors import ApiError, NotLeading
from msm_operator.runtime.metrics import Metrics
from msm_operator.runtime.queue import ShutDown, Workqueue
from msm_operator.runtime.reflector import Handler
from msm_operator.runtime.seams import Key, Reconciler

log = logging.getLogger(__name__)
Mapper = Callable[[Mapping[str, Any]], Iterable[Key]]
"""Which of a controller's objects a change of another object concerns."""


@dataclass(frozen=True, slots=True)
class Work:
    """How a controller works."""

    workers: int = 8
    limit_s: float = 300.0
    """A pass that takes longer is cancelled and counts as failed."""


class Controller:
    """One kind's reconciler with its queue."""

    def __init__(
        self,
        name: str,
        reconciler: Reconciler,
        primary: Store,
        metrics: Metrics,
        *,
        work: Work | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.name, self.primary = name, primary
        self.work, self._rng = work or Work(), rng
        self.queue: Workqueue | None = None
        self._reconciler, self._metrics = reconciler, metrics
        label = ("controller",)
        self._total = metrics.counter("controller_runtime_reconcile_total", "Passes by result.", ("controller", "result"))
        self._errors = metrics.counter("controller_runtime_reconcile_errors_total", "Passes that failed.", label)
        self._panics = metrics.counter("controller_runtime_reconcile_panics_total", "Passes that failed in no way foreseen.", label)
        self._time = metrics.histogram("controller_runtime_reconcile_time_seconds", "Duration of a pass.", label)
        self._active = metrics.gauge("controller_runtime_active_workers", "Workers with a key in hand.", label)
        metrics.gauge("controller_runtime_max_concurrent_reconciles", "Workers.", label).set(float(self.work.workers), name)

    def on_primary(self, change: Change) -> None:
        """Queue the object itself, unless the change is what our own write made of it."""
        if not change.echo:
            self._add(change.key)

    def on_related(self, concerns: Mapper) -> Handler:
        """A handler that queues whomever a change of a related object concerns; an object that `concerns` cannot read concerns nobody."""

        def handle(change: Change) -> None:
            try:
                keys = list(concerns(change.object))
            except (KeyError, TypeError, AttributeError, ValueError):
                log.exception("%s: cannot tell whom %s concerns", self.name, change.key)
                return
            for key in keys:
                self._add(key)

        return handle

    def longest_running(self) -> float:
        """Seconds that the oldest pass has taken so far."""
        return self.queue.longest_running() if self.queue else 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Look at every object, then at each change, until `stop` is set; passes under way are finished first."""
        queue = self.queue = Workqueue(self.name, self._metrics, rng=self._rng)
        for key in self.primary.keys():  # noqa: SIM118
            queue.add(key)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self.work.workers):
                    group.create_task(self._work(queue), name=f"{self.name}-{number}")
                group.create_task(self._until(stop, queue))
        finally:
            self.queue = None
            self._active.set(0.0, self.name)

    def _add(self, key: Key) -> None:
        if self.queue is not None:
            self.queue.add(key)

    async def _until(self, stop: asyncio.Event, queue: Workqueue) -> None:
        await stop.wait()
        queue.shut_down()

    async def _work(self, queue: Workqueue) -> None:
        while True:
            try:
                key = await queue.get()
            except ShutDown:
                return
            try:
                await self._pass(queue, key)
            finally:
                queue.done(key)

    async def _pass(self, queue: Workqueue, key: Key) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        self._active.inc(self.name)
        try:
            async with asyncio.timeout(self.work.limit_s):
                after = await self._reconciler.reconcile(key)
            self._succeeded(queue, key, after)
        except NotLeading as error:
            log.info("%s %s: left to the next leader: %s", self.name, key, error)
        except TimeoutError:
            self._failed(queue, key, f"no end in {self.work.limit_s:.0f} s", 0.0)
        except ApiError as error:
            self._failed(queue, key, str(error), error.retry_after or 0.0)
        except Exception:
            self._panics.inc(self.name)
            log.exception("%s %s failed", self.name, key)
            self._failed(queue, key, "see above", 0.0)
        finally:
            self._active.inc(self.name, by=-1.0)
            self._time.observe(loop.time() - begin, self.name)

    def _succeeded(self, queue: Workqueue, key: Key, after: timedelta | None) -> None:
        queue.forget(key)
        if after is not None:
            queue.add_after(key, after.total_seconds())
        self._total.inc(self.name, "success" if after is None else "requeue_after")

    def _failed(self, queue: Workqueue, key: Key, why: str, at_least: float) -> None:
        self._total.inc(self.name, "error")
        self._errors.inc(self.name)
        pause = queue.add_failed(key, at_least)
        log.warning("%s %s: %s; again in %.1f s", self.name, key, why, pause)


def owner_keys(api_version: str, kind: str) -> Mapper:
    """A mapper to the controlling owner of a kind, by the reference's name; for children in their owner's namespace."""
    group = api_version.partition("/")[0]

    def concerns(obj: Mapping[str, Any]) -> Iterable[Key]:
        namespace = key_of(obj).namespace
        references = obj["metadata"].get("ownerReferences") or ()
        return [Key(namespace, ref["name"]) for ref in references if ref["kind"] == kind and ref["apiVersion"].partition("/")[0] == group]

    return concerns


def label_key(label: str) -> Mapper:
    """A mapper to the object that a label names, in the same namespace."""

    def concerns(obj: Mapping[str, Any]) -> Iterable[Key]:
        name = (obj["metadata"].get("labels") or {}).get(label)
        return [Key(key_of(obj).namespace, name)] if name else []

    return concerns
