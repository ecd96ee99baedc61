"""Blocking work beside the event loop: short questions that a pass waits for, long work that a later pass picks up.

Neighbours: controllers ask, threads do. Invariant: at most one piece of long work of a name runs or waits to be picked up; the controller
is told when it is done. Cost: two bounded pools.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from msm.errors import TryAgain
from msm_operator.runtime.seams import Key

T = TypeVar("T")
QUICK_THREADS, SLOW_THREADS = 16, 4


@dataclass(slots=True)
class Background:
    """The pools of one process. `wake` is called in the loop when long work of a key is done."""

    wake: Callable[[Key], None]
    quick: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(QUICK_THREADS, "store"))
    slow: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(SLOW_THREADS, "slow"))
    patience: float = 20.0
    """Seconds that a pass waits for an answer."""
    _running: dict[tuple[Key, str], "Future[Any]"] = field(default_factory=dict)

    async def ask(self, question: Callable[[], T]) -> T:
        """The answer to a short question; raises what it raises.

        Raises:
            TryAgain: there is none in time. Its thread goes on until its own limits end it.
        """
        asked = asyncio.get_running_loop().run_in_executor(self.quick, question)
        try:
            async with asyncio.timeout(self.patience):
                return await asked
        except TimeoutError as error:
            raise TryAgain(f"the store gives no answer in {self.patience:.0f} s") from error

    def pick_up(self, key: Key, name: str, work: Callable[[], T]) -> tuple[T] | None:
        """The result of long work, once; None while it goes on, which this call begins where it has not begun. Raises what it raised."""
        running = self._running.get((key, name))
        if running is None:
            loop = asyncio.get_running_loop()
            running = self._running[key, name] = self.slow.submit(work)
            running.add_done_callback(lambda _: loop.call_soon_threadsafe(self.wake, key))
            return None
        if not running.done():
            return None
        del self._running[key, name]
        return (running.result(),)

    def forget(self, key: Key) -> None:
        """Drop the work of something that is gone; what runs ends unseen."""
        for name in [name for name in self._running if name[0] == key]:
            self._running.pop(name).cancel()

    def close(self) -> None:
        """Take no more work."""
        self.quick.shutdown(wait=False, cancel_futures=True)
        self.slow.shutdown(wait=False, cancel_futures=True)
