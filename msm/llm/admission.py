"""How many questions one endpoint has at a time: grown while it keeps up, cut when it says or shows that it does not.

Neighbours: `client` passes every attempt through one `Gate`. Two parts: `Window` is the controller, pure; `Gate` lets coroutines wait for
it. Invariant: 1 <= window <= limit, and never more attempts in flight than the window had when each of them was let in. Source: additive
increase, multiplicative decrease (Chiu and Jain 1989) with TCP's doubling up to the first sign of trouble (RFC 5681).
Cost: O(1) an attempt.
"""

import asyncio
import random
from collections import deque
from dataclasses import dataclass, replace

from msm.llm.pace import Pace

START = 256
"""Attempts in flight before anything is known of the endpoint."""
CUT = 0.7
"""What is left of the window after a cut: at a server that refuses more than C the window then moves between 0.7 C and C."""
HARD_CUT = 0.5
"""The same where the capacity is not yet found: while doubling, and after a cut that was not enough (not one slot was regained since)."""


@dataclass(frozen=True, slots=True)
class Window:
    """The controller's state: `size` attempts may be in flight, `limit` at most.

    Below `threshold` every answer adds one (the window doubles each round), above it every round adds one. `cut_at` is when the window was
    last cut, in the clock's monotonic seconds: what was sent before says nothing of the window after.
    """

    limit: int
    size: float
    threshold: float
    cut_at: float = float("-inf")

    @property
    def slots(self) -> int:
        """Attempts that may be in flight now."""
        return int(self.size)


def open_window(limit: int) -> Window:
    """The window of an endpoint nothing is known of; `limit` >= 1."""
    return Window(limit=limit, size=float(min(limit, START)), threshold=float(limit))


def grow(window: Window, in_flight: int) -> Window:
    """After an answer in good time. A window that is not in use (under half) does not grow: nothing was learned about a larger one."""
    if window.size >= window.limit or in_flight < window.slots / 2:
        return window
    step = 1.0 if window.size < window.threshold else 1.0 / window.size
    return replace(window, size=min(float(window.limit), window.size + step))


def shrink(window: Window, sent_at: float, now: float) -> Window:
    """After a refusal or a timeout of what was sent at `sent_at`; one cut for all that were in flight together."""
    if sent_at < window.cut_at:
        return window
    size = max(1.0, window.size * (CUT if window.size >= window.threshold + 1 else HARD_CUT))
    return replace(window, size=size, threshold=size, cut_at=now)


class Gate:
    """Where attempts wait for the window. First come, first served, and those that try again before those that come new."""

    def __init__(self, limit: int, pace: Pace, rng: random.Random) -> None:
        self.window = open_window(limit)
        self.in_flight = 0
        self._pace, self._rng = pace, rng
        self._closed_until = float("-inf")
        self._waiting: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque())

    async def enter(self, again: bool = False) -> float:
        """Wait for a slot, and for the end of a pause; the monotonic second at which the attempt may start. `leave` must follow."""
        await self._take_slot(self._waiting[0 if again else 1])
        try:
            await self._sit_out_pause()
        except BaseException:
            self.leave()
            raise
        return self._pace.clock.monotonic()

    def leave(self) -> None:
        """Give the slot back."""
        self.in_flight -= 1
        self._admit()

    def kept_up(self) -> None:
        """An answer came in good time."""
        self.window = grow(self.window, self.in_flight)
        self._admit()

    def overloaded(self, sent_at: float) -> None:
        """The endpoint refused what was sent at `sent_at`, or let it time out."""
        self.window = shrink(self.window, sent_at, self._pace.clock.monotonic())

    def pause(self, seconds: float) -> None:
        """Nothing is sent for `seconds`: the endpoint asked for it."""
        self._closed_until = max(self._closed_until, self._pace.clock.monotonic() + seconds)

    async def _take_slot(self, queue: deque["asyncio.Future[None]"]) -> None:
        if self.in_flight < self.window.slots and not any(self._waiting):
            self.in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    async def _sit_out_pause(self) -> None:
        while (left := self._closed_until - self._pace.clock.monotonic()) > 0:
            await self._pace.sleep(left + self._rng.uniform(0, min(1.0, left / 4)))

    def _admit(self) -> None:
        for queue in self._waiting:
            while queue and self.in_flight < self.window.slots:
                turn = queue.popleft()
                if not turn.done():
                    self.in_flight += 1
                    turn.set_result(None)
