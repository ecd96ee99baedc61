"""Numbers, times and foreign text as people read them.

Pure. Neighbours: every module that prints. Invariant: what comes out is one line without control characters, so that a document, a log or
a file name cannot move the cursor or colour the screen.
"""

from collections.abc import Sequence
from math import isfinite

NOTHING = "-"
"""Shown where there is no value."""


def clean(text: str) -> str:
    """One line of printable text: runs of blanks and line ends become one blank, other control characters go."""
    return " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units: 42s, 3m20s, 1h04m, 2d03h."""
    if seconds is None or not isfinite(seconds) or seconds < 0:
        return NOTHING
    whole = round(seconds)
    for unit, name, below, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            return f"{whole // unit}{name}{whole % unit // below:02d}{part}"
    return f"{whole}s"


def number(value: int | None) -> str:
    """A count with thousands apart."""
    return NOTHING if value is None else f"{value:,}"


def gibibytes(size: int) -> str:
    """Bytes in GiB."""
    return f"{size / 2**30:.0f} GiB"


def decimal(value: float | None, places: int = 2) -> str:
    """A measurement."""
    return NOTHING if value is None or not isfinite(value) else f"{value:.{places}f}"


def signed(value: float, places: int = 2) -> str:
    """A difference."""
    return f"{value:+.{places}f}" if isfinite(value) else NOTHING


def share(value: float | None) -> str:
    """A share of one in percent."""
    return NOTHING if value is None or not isfinite(value) else f"{value:.0%}"


def some(what: Sequence[object], one: str, many: str) -> str:
    """How many of something: `1 stage`, `3 stages`."""
    return f"{len(what)} {one if len(what) == 1 else many}"
