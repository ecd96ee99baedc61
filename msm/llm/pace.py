"""Time for coroutines: the machine's clock, and waiting that lets others go on.

Neighbours: `admission`, `patience` and `client` take it instead of asking the event loop, so that a test decides how long a minute is.
Cost: none.
"""

import asyncio
from typing import Protocol

from msm.clock import Clock, SystemClock


class Pace(Protocol):
    """What the client asks of time."""

    @property
    def clock(self) -> Clock:
        """The hour, and seconds for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after about `seconds`; other coroutines run meanwhile."""
        ...


class LoopPace:
    """The machine's clock and the running event loop."""

    __slots__ = ("clock",)

    def __init__(self) -> None:
        self.clock: Clock = SystemClock()

    async def sleep(self, seconds: float) -> None:
        """Let other coroutines run for about `seconds`."""
        await asyncio.sleep(seconds)
