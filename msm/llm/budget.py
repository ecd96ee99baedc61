"""A cap on money that cannot be passed: what an answer may cost at most is set aside before it is asked for.

Neighbours: `client` reserves before each try and settles after it; a `ledger` shares the cap with other processes. Invariant: spent +
reserved <= granted <= cap at every moment, so the cap holds with any number of questions in flight. Who finds no room waits while others
may still give some back; only when nobody is in flight is the budget spent. What a try that broke off may have cost counts as spent. Cost:
O(1) a try, O(waiting) when one ends.
"""

import asyncio
from dataclasses import dataclass

from msm.errors import UserError
from msm.llm.ledger import Purse
from msm.llm.price import spell


@dataclass(frozen=True, slots=True)
class Hold:
    """Money set aside for one try."""

    worst: int


class Budget:
    """One cap, in units of `price.PICO`; None for no cap. Without a purse this process alone has all of it."""

    def __init__(self, cap: int | None, field: str, purse: Purse | None = None) -> None:
        self.cap, self.spent, self.reserved = cap, 0, 0
        self.granted = 0 if purse is not None else cap or 0
        self._field, self._purse, self._purse_is_empty = field, purse, False
        self._claiming = asyncio.Lock()
        self._freed: asyncio.Event | None = None

    async def reserve(self, worst: int) -> Hold:
        """Set `worst` aside, waiting for room if others are in flight.

        Raises:
            UserError: there is no room and nobody is in flight who could give some back.
        """
        while self.cap is not None and not self._fits(worst) and not await self._claim(worst):
            if self.reserved == 0:
                raise await self._exhausted(worst)
            self._freed = self._freed or asyncio.Event()
            await self._freed.wait()
        self.reserved += worst
        return Hold(worst)

    def settle(self, hold: Hold, actual: int) -> None:
        """A try ended and cost `actual`; `hold` must not be used again."""
        self.reserved -= hold.worst
        self.spent += actual
        if self._freed is not None:
            self._freed.set()
            self._freed = None

    async def close(self) -> None:
        """Give back what is left, for other processes of the same work."""
        if self._purse is not None and self.granted > self.spent:
            left, self.granted = self.granted - self.spent, self.spent
            await asyncio.to_thread(self._purse.give_back, left)

    def _fits(self, worst: int) -> bool:
        return self.spent + self.reserved + worst <= self.granted

    async def _claim(self, worst: int) -> bool:
        """Whether there is room now, after asking the purse for more; an empty one is asked again only when nobody is in flight."""
        if self._purse is None or self.cap is None:
            return False
        async with self._claiming:
            if not self._fits(worst) and not (self._purse_is_empty and self.reserved):
                need = self.spent + self.reserved + worst - self.granted
                gained = await asyncio.to_thread(self._purse.claim, need, self.cap)
                self.granted += gained
                self._purse_is_empty = gained == 0
        return self._fits(worst)

    async def _exhausted(self, worst: int) -> UserError:
        spent = self.spent if self._purse is None else await asyncio.to_thread(self._purse.total) - self.granted + self.spent
        return UserError(
            f"{self._field}.maxPrice",
            f"{spell(spent)} of {spell(self.cap or 0)} are spent, and the next question may cost up to {spell(worst)}",
            f"raise maxPrice above {spell(spent + worst)} and run again; every answer so far is kept and not paid for twice",
        )
