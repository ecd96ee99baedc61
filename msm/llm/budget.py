"""A cap on money that cannot be passed: what an answer may cost at most is set aside before it is asked for.

Neighbours: `client` reserves before each try and settles after it. Invariant: spent + reserved <= cap at every moment, so the cap holds
with any number of questions in flight. Who finds no room waits while others may still give some back; only when nobody is in flight is the
budget spent. What a try that broke off may have cost counts as spent. Cost: O(1) a try, O(waiting) when one ends.
"""

import asyncio
from dataclasses import dataclass

from msm.errors import UserError
from msm.llm.price import spell


@dataclass(frozen=True, slots=True)
class Hold:
    """Money set aside for one try."""

    worst: int


class Budget:
    """One cap, in units of `price.PICO`; None for no cap. `spent` may start above 0: what an earlier process of the same work spent."""

    def __init__(self, cap: int | None, field: str, spent: int = 0) -> None:
        self.cap, self.spent, self.reserved = cap, spent, 0
        self._field = field
        self._freed: asyncio.Event | None = None

    async def reserve(self, worst: int) -> Hold:
        """Set `worst` aside, waiting for room if others are in flight.

        Raises:
            UserError: there is no room and nobody is in flight who could give some back.
        """
        while self.cap is not None and self.spent + self.reserved + worst > self.cap:
            if self.reserved == 0:
                raise self._exhausted(worst)
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

    def _exhausted(self, worst: int) -> UserError:
        cap = self.cap or 0
        return UserError(
            f"{self._field}.maxPrice",
            f"{spell(self.spent)} of {spell(cap)} are spent, and the next question may cost up to {spell(worst)}",
            f"raise maxPrice above {spell(self.spent + worst)} and run again; every answer so far is kept and not paid for twice",
        )
