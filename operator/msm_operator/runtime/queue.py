"""Which objects are to be looked at, each once and by one worker at a time: a workqueue with client-go's semantics.

Filled by reflectors' handlers, emptied by `controller`. Invariants: a key is never worked on by two; a key added while it is worked on
is handed out once more afterwards, however often it was added; nothing added is lost. Repeats wait: exponentially by key, and all of
them together through one token bucket, so that one poisoned object delays no other. Cost: O(1) an operation, O(log n) a delay.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from msm_operator.runtime.metrics import Metrics
from msm_operator.runtime.seams import Key

Now = Callable[[], float]


class ShutDown(Exception):
    """The queue hands nothing out any more."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How repeats are slowed, in seconds."""

    first: float = 0.1
    most: float = 300.0
    per_second: float = 10.0
    """Repeats of all keys together, in the long run."""
    burst: int = 100
    """Repeats of all keys that may come at once."""

    def after(self, failures: int, rng: random.Random) -> float:
        """The pause before repeat number `failures` of one key: doubling, up to a fifth more by chance."""
        return float(min(self.most, self.first * 2.0 ** min(failures - 1, 32)) * (1.0 + 0.2 * rng.random()))


class Bucket:
    """A token bucket that lets its debts wait instead of refusing them."""

    def __init__(self, per_second: float, burst: int, now: float) -> None:
        self._rate, self._burst = per_second, burst
        self._tokens, self._last = float(burst), now

    def take(self, now: float) -> float:
        """Take one token; the seconds until it is really there."""
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._rate) - 1.0
        self._last = now
        return max(0.0, -self._tokens / self._rate)

    def takes(self, now: float) -> bool:
        """Take one token if it is there."""
        full = min(self._burst, self._tokens + (now - self._last) * self._rate)
        self._tokens, self._last = (full - 1.0 if full >= 1.0 else full), now
        return full >= 1.0


class Workqueue:
    """Keys that wait, are worked on, or come later; for one event loop."""

    def __init__(
        self, name: str, metrics: Metrics, *, backoff: Backoff | None = None, rng: random.Random | None = None, now: Now | None = None
    ) -> None:
        self.name = name
        self._now = now or asyncio.get_running_loop().time
        self._backoff = backoff or Backoff()
        self._rng = rng or random.Random()
        self._bucket = Bucket(self._backoff.per_second, self._backoff.burst, self._now())
        self._waiting: deque[Key] = deque()
        self._dirty: dict[Key, float] = {}
        self._working: dict[Key, float] = {}
        self._later: list[tuple[float, Key]] = []
        self._due: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._closed = False
        self._news = asyncio.Event()
        self._measure(metrics)

    def _measure(self, metrics: Metrics) -> None:
        label, name = ("name",), self.name
        self._adds = metrics.counter("workqueue_adds_total", "Keys added.", label)
        self._retries = metrics.counter("workqueue_retries_total", "Keys added again after a failure.", label)
        self._waited = metrics.histogram("workqueue_queue_duration_seconds", "From added to handed out.", label)
        self._worked = metrics.histogram("workqueue_work_duration_seconds", "From handed out to done.", label)
        metrics.gauge("workqueue_depth", "Keys that wait for a worker.", label).track(lambda: float(len(self)), name)
        longest = metrics.gauge("workqueue_longest_running_processor_seconds", "How long the oldest work has taken.", label)
        longest.track(self.longest_running, name)
        unfinished = metrics.gauge("workqueue_unfinished_work_seconds", "Seconds of work in progress, summed.", label)
        unfinished.track(lambda: sum(self._now() - begin for begin in list(self._working.values())), name)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def working(self) -> int:
        """How many keys are worked on."""
        return len(self._working)

    def longest_running(self) -> float:
        """Seconds that the oldest work has taken so far; 0 when there is none."""
        return max((self._now() - begin for begin in list(self._working.values())), default=0.0)

    def add(self, key: Key) -> None:
        """Have `key` looked at; at once, or after the work on it that is going on."""
        if self._closed or key in self._dirty:
            return
        self._adds.inc(self.name)
        self._dirty[key] = self._now()
        if key not in self._working:
            self._waiting.append(key)
            self._news.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Have `key` looked at after `seconds`; the earliest of several such wishes stands."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        when = self._now() + seconds
        if when < self._due.get(key, float("inf")):
            self._due[key] = when
            heapq.heappush(self._later, (when, key))
            self._news.set()

    def add_failed(self, key: Key, at_least: float = 0.0) -> float:
        """Have `key` looked at again after a pause that grows with its failures, `at_least` so many seconds; the pause."""
        self._failures[key] = self._failures.get(key, 0) + 1
        self._retries.inc(self.name)
        pause = max(at_least, self._backoff.after(self._failures[key], self._rng), self._bucket.take(self._now()))
        self.add_after(key, pause)
        return pause

    def forget(self, key: Key) -> None:
        """The key succeeded: its next failure is a first one."""
        self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """How often `key` failed in a row."""
        return self._failures.get(key, 0)

    def take(self) -> Key | None:
        """The next key, now ours until `done`; None when nothing waits."""
        self._ripen()
        if not self._waiting:
            return None
        key = self._waiting.popleft()
        now = self._now()
        self._waited.observe(now - self._dirty.pop(key), self.name)
        self._working[key] = now
        return key

    async def get(self) -> Key:
        """The next key, once there is one; `ShutDown`."""
        while not self._closed:
            key = self.take()
            if key is not None:
                return key
            self._news.clear()
            await self._until_news()
        raise ShutDown(self.name)

    def done(self, key: Key) -> None:
        """The work on `key` ended, whichever way."""
        self._worked.observe(self._now() - self._working.pop(key), self.name)
        if key in self._dirty:
            self._waiting.append(key)
            self._news.set()

    def shut_down(self) -> None:
        """Hand out nothing more, forget what waits; work that is going on may be `done`."""
        self._closed = True
        self._waiting.clear()
        self._dirty.clear()
        self._later.clear()
        self._due.clear()
        self._news.set()

    def next_due(self) -> float | None:
        """When the next delayed key is due, on the queue's own time; None when none is."""
        while self._later and self._due.get(self._later[0][1]) != self._later[0][0]:
            heapq.heappop(self._later)
        return self._later[0][0] if self._later else None

    def _ripen(self) -> None:
        now = self._now()
        while (due := self.next_due()) is not None and due <= now:
            _, key = heapq.heappop(self._later)
            del self._due[key]
            self.add(key)

    async def _until_news(self) -> None:
        due = self.next_due()
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - self._now())):
                await self._news.wait()
        except TimeoutError:
            return
