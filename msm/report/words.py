"""Numbers, times and metric names as the report shows them.

Pure. Neighbours: the templates use these as filters, cards and figures as functions. Invariant: one number looks the same in a figure, a
table and a card.
"""

from collections.abc import Sequence
from datetime import datetime

MINUS = "−"
NOTHING = "–"


def decimal(value: float | None, places: int = 2) -> str:
    """A measurement."""
    return NOTHING if value is None else f"{value:.{places}f}".replace("-", MINUS)


def signed(value: float | None, places: int = 2) -> str:
    """A difference, with its sign; what rounds to nothing has none."""
    if value is None:
        return NOTHING
    said = f"{value:+.{places}f}"
    return said[1:] if float(said) == 0 else said.replace("-", MINUS)


def decimal_tick(value: float) -> str:
    """A number on an axis."""
    return f"{value:g}".replace("-", MINUS)


def percent(value: float | None) -> str:
    """A share of one."""
    return NOTHING if value is None else f"{value * 100:.0f}%"


def span(values: Sequence[float]) -> str:
    """Shares of one kind: one number where they agree, else the least and the greatest."""
    least, greatest = percent(min(values)), percent(max(values))
    return least if least == greatest else f"{least.removesuffix('%')}–{greatest}"


def points(value: float | None) -> str:
    """A difference of shares, in percentage points."""
    return NOTHING if value is None else signed(value * 100, 0)


def count(value: int | None) -> str:
    """A count with thousands apart."""
    return NOTHING if value is None else f"{value:,}"


def measured(value: float) -> str:
    """A number of unknown unit: whole ones with thousands apart, others to four digits."""
    return f"{value:,.0f}" if value == int(value) else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units: 0.4s, 42s, 3m20s, 1h04m."""
    if seconds is None:
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for unit, name, below, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            return f"{whole // unit}{name}{whole % unit // below:02d}{part}"
    return f"{whole}s"


def moment(when: datetime | None) -> str:
    """A time in UTC, to the minute."""
    return NOTHING if when is None else f"{when:%Y-%m-%d %H:%M} UTC"


def size(number: int) -> str:
    """Bytes in the unit that suits."""
    amount = float(number)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def short(digest: str) -> str:
    """The beginning of a digest, or of an identity that ends in one."""
    head, colon, tail = digest.rpartition(":")
    return f"{head}{colon}{tail[:12]}" if len(tail) >= 40 else digest


def parts(metric: str) -> tuple[str, str, str, str]:
    """(eval, value, set, measure) of a metric's name."""
    name, value, set_, measure = metric.rsplit(".", 3)
    return name, value, set_, measure


def interval(low: float | None, high: float | None, measure: str, is_difference: bool) -> str:
    """Both ends, in the measure's unit."""
    if low is None or high is None:
        return ""
    if measure == "choice":
        ends = [points(end) if is_difference else f"{end * 100:.0f}" for end in (low, high)]
    else:
        ends = [signed(end) if is_difference else decimal(end) for end in (low, high)]
    return f"[{', '.join(ends)}]"


def estimate(value: float | None, measure: str, is_difference: bool) -> str:
    """A mean or a difference, in the measure's unit."""
    if measure == "choice":
        return points(value) if is_difference else percent(value)
    return signed(value) if is_difference else decimal(value)


def joined(names: tuple[str, ...]) -> str:
    """Names with commas."""
    return ", ".join(names) or NOTHING
