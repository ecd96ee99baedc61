"""Time as a dependency: what the hour is, how long something took, waiting, and identifiers that sort by time.

Imported by every room, imports none. Invariant: nothing else in `msm` reads the machine's clock, so a test decides what time it is.
`now` may jump (NTP, suspended laptops); durations and deadlines within one process use `monotonic`.
"""

import random
import time
from datetime import UTC, datetime
from typing import Protocol

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Clock(Protocol):
    """What the platform asks of a clock."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back within one process."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after about `seconds`."""
        ...


class SystemClock:
    """The machine's clock."""

    __slots__ = ()

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block this thread for `seconds`."""
        time.sleep(seconds)


def new_ulid(clock: Clock, rng: random.Random | None = None) -> str:
    """A fresh ULID: 26 characters of Crockford's base 32, 48 bits of milliseconds before 80 random bits.

    Text order is time order across milliseconds; within one millisecond it is random. Source: the ULID specification
    (github.com/ulid/spec). Without `rng` the bits come from the operating system.
    """
    milliseconds = int(clock.now().timestamp() * 1000)
    number = (milliseconds << 80) | (rng or random.SystemRandom()).getrandbits(80)
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))
