"""Events (events.k8s.io/v1) about what changed: one a transition, repetitions counted, never in the way of the work.

`writer` records, a task of `manager` sends. Invariants: recording takes no time and never fails; only the leader sends; an event is the
same object for every replica and after every restart, so a crash between a status write and its event repeats the event as a count
and not as a second line. What exceeds the rate of an object or finds the queue full is dropped and counted.
"""

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from msm_operator.runtime.api import Api, Object
from msm_operator.runtime.errors import AlreadyExists, ApiError, Forbidden, Invalid, NotFound, NotLeading, TooManyRequests, Unavailable
from msm_operator.runtime.leader import Fence
from msm_operator.runtime.metrics import Metrics
from msm_operator.runtime.queue import Bucket
from msm_operator.runtime.resources import EVENTS
from msm_operator.runtime.seams import EventType, Key

V = TypeVar("V")
log = logging.getLogger(__name__)
NOTE_BYTES = 1024
REASON_CHARACTERS = 128
REMEMBERED = 4096
WAITING = 1000
NAME_CHARACTERS = 253


@dataclass(frozen=True, slots=True)
class EventRate:
    """How much is told of one object, and how often a repetition is."""

    burst: int = 50
    per_second: float = 0.1
    repeat: float = 60.0
    """Seconds between two updates of the count of one event."""
    again: tuple[float, ...] = (1.0, 5.0, 15.0)
    """Seconds before each further try when the server cannot take an event just now."""


@dataclass(slots=True)
class _Told:
    """One event as it was sent, and what happened since."""

    key: Key
    count: int = 1
    sent_count: int = 1
    sent_at: float = 0.0
    last_seen: datetime = field(default_factory=lambda: datetime.now(UTC))


class Recorder:
    """Takes events and sends them from a task of its own."""

    def __init__(
        self,
        api: Api,
        fence: Fence,
        metrics: Metrics,
        *,
        controller: str,
        instance: str,
        rate: EventRate | None = None,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api, self._fence, self._wall = api, fence, wall
        self._controller, self._instance = controller, instance
        self._rate = rate or EventRate()
        self._waiting: asyncio.Queue[Object] = asyncio.Queue(WAITING)
        self._told: OrderedDict[str, _Told] = OrderedDict()
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._counted = metrics.counter("msm_events_total", "Events by what became of them.", ("outcome",))

    def record(self, about: Mapping[str, Any], type: EventType, reason: str, action: str, note: str) -> None:
        """Take note of what happened to `about`."""
        meta = about["metadata"]
        now = asyncio.get_running_loop().time()
        bucket = _remember(self._buckets, str(meta.get("uid", "")), lambda: Bucket(self._rate.per_second, self._rate.burst, now))
        if not bucket.takes(now):
            self._counted.inc("limited")
            return
        try:
            self._waiting.put_nowait(self._body(about, type, reason, action, note))
        except asyncio.QueueFull:
            self._counted.inc("dropped")

    async def run(self) -> None:
        """Send what is recorded, and the counts of what repeated; ends by being cancelled."""
        while True:
            try:
                event = await asyncio.wait_for(self._waiting.get(), self._rate.repeat)
            except TimeoutError:
                await self._send_counts()
            else:
                await self._send(event)

    async def flush(self) -> None:
        """Send what waits and every count; before the lease is given back."""
        while not self._waiting.empty():
            await self._send(self._waiting.get_nowait())
        await self._send_counts()

    async def _send(self, event: Object) -> None:
        name = event["metadata"]["name"]
        told = self._told.get(name)
        if told is None:
            await self._tell(name, event)
            return
        told.count, told.last_seen = told.count + 1, self._wall()
        self._told.move_to_end(name)
        if asyncio.get_running_loop().time() - told.sent_at >= self._rate.repeat or told.sent_count == 1:
            await self._send_count(told)

    async def _tell(self, name: str, event: Object) -> None:
        for pause in (*self._rate.again, None):
            try:
                await self._fence.guard(lambda: self._api.create(EVENTS, event))
            except AlreadyExists:
                await self._send_count(self._kept(name, event, count=2))
            except (Unavailable, TooManyRequests) as error:
                if pause is not None:
                    await asyncio.sleep(max(pause, error.retry_after or 0.0))
                    continue
                self._failed(error)
            except ApiError as error:
                self._failed(error)
            else:
                self._counted.inc("sent")
                self._kept(name, event, count=1)
            return

    def _kept(self, name: str, event: Object, *, count: int) -> _Told:
        key = Key(event["metadata"]["namespace"], name)
        now = asyncio.get_running_loop().time()
        return _remember(self._told, name, lambda: _Told(key, count, 1, now, self._wall()))

    async def _send_counts(self) -> None:
        for told in [told for told in self._told.values() if told.count > told.sent_count]:
            await self._send_count(told)

    async def _send_count(self, told: _Told) -> None:
        series = {"count": told.count, "lastObservedTime": _micro(told.last_seen)}
        told.sent_at = asyncio.get_running_loop().time()
        try:
            await self._fence.guard(lambda: self._api.patch(EVENTS, told.key, {"series": series}))
            told.sent_count = told.count
            self._counted.inc("counted")
        except NotFound:
            self._told.pop(told.key.name, None)
        except ApiError as error:
            told.sent_count = told.count
            self._failed(error)

    def _failed(self, error: ApiError) -> None:
        self._counted.inc("failed")
        if not isinstance(error, NotLeading):
            log.log(logging.WARNING if isinstance(error, Invalid | Forbidden) else logging.INFO, "an event was not sent: %s", error)

    def _body(self, about: Mapping[str, Any], type: EventType, reason: str, action: str, note: str) -> Object:
        meta = about["metadata"]
        regarding = {
            "apiVersion": about.get("apiVersion", ""),
            "kind": about.get("kind", ""),
            "name": meta["name"],
            "namespace": meta.get("namespace", ""),
            "uid": meta.get("uid", ""),
            "resourceVersion": meta.get("resourceVersion", ""),
        }
        told = _cut(note, NOTE_BYTES)
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": _name(meta, type, reason, action, told), "namespace": meta.get("namespace") or "default"},
            "eventTime": _micro(self._wall()),
            "reportingController": self._controller,
            "reportingInstance": self._instance[:REASON_CHARACTERS],
            "type": type,
            "reason": reason[:REASON_CHARACTERS],
            "action": action[:REASON_CHARACTERS],
            "note": told,
            "regarding": {name: value for name, value in regarding.items() if value},
        }


def _name(meta: Mapping[str, Any], *identity: str) -> str:
    """The event's name: the object's and a digest of what makes two events the same one."""
    digest = hashlib.sha256("\0".join([str(meta.get("uid", "")), *identity]).encode()).hexdigest()[:16]
    return f"{meta['name'][: NAME_CHARACTERS - 17].rstrip('.-')}.{digest}"


def _cut(text: str, limit: int) -> str:
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[: limit - 3].decode("utf-8", "ignore") + "…"


def _micro(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _remember(known: OrderedDict[str, V], name: str, make: Callable[[], V]) -> V:
    """The value under `name`, made if new; the longest unused ones are forgotten."""
    found = known[name] = known.pop(name, None) or make()
    while len(known) > REMEMBERED:
        known.popitem(last=False)
    return found
