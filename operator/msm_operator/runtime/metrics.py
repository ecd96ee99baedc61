"""Counters, gauges and histograms with controller-runtime's names, in Prometheus' text format.

Every part of the runtime takes the one `Metrics` of its process; `health` shows it. Ours, because `prometheus_client` is not among
the locked packages and this is what of it is needed. Invariant: a metric's label values never hold an object's name, so the number of
series is bounded. Cost: one dict operation an observation.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Labels = tuple[str, ...]
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Counter:
    """A number that only grows, by label values."""

    kind = "counter"

    def __init__(self, name: str, help: str, labels: Labels) -> None:
        self.name, self.help, self.labels = name, help, labels
        self._values: dict[Labels, float] = {}

    def inc(self, *labels: str, by: float = 1.0) -> None:
        """Add `by`."""
        self._values[labels] = self._values.get(labels, 0.0) + by

    def value(self, *labels: str) -> float:
        """What it stands at."""
        return self._values.get(labels, 0.0)

    def lines(self) -> list[str]:
        """One line a series."""
        return [f"{self.name}{_braces(self.labels, labels)} {_number(value)}" for labels, value in list(self._values.items())]


class Gauge(Counter):
    """A number that goes up and down, by label values; `track` reads it when asked."""

    kind = "gauge"

    def __init__(self, name: str, help: str, labels: Labels) -> None:
        super().__init__(name, help, labels)
        self._tracked: dict[Labels, Callable[[], float]] = {}

    def set(self, value: float, *labels: str) -> None:
        """Put it at `value`."""
        self._values[labels] = value

    def track(self, read: Callable[[], float], *labels: str) -> None:
        """Ask `read` whenever the metrics are shown."""
        self._tracked[labels] = read

    def lines(self) -> list[str]:
        """One line a series."""
        self._values.update({labels: read() for labels, read in list(self._tracked.items())})
        return super().lines()


class Histogram:
    """How often a number of seconds fell under each bound, by label values."""

    kind = "histogram"

    def __init__(self, name: str, help: str, labels: Labels, bounds: Sequence[float] = SECONDS) -> None:
        self.name, self.help, self.labels, self._bounds = name, help, labels, tuple(bounds)
        self._series: dict[Labels, tuple[list[int], list[float]]] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Count one observation."""
        counts, total = self._series.setdefault(labels, ([0] * (len(self._bounds) + 1), [0.0]))
        counts[bisect_left(self._bounds, value)] += 1
        total[0] += value

    def count(self, *labels: str) -> int:
        """How many observations there were."""
        return sum(self._series[labels][0]) if labels in self._series else 0

    def lines(self) -> list[str]:
        """Cumulative buckets, sum and count, series by series."""
        found: list[str] = []
        for labels, (counts, total) in list(self._series.items()):
            below = 0
            for bound, count in zip([*map(_number, self._bounds), "+Inf"], counts, strict=True):
                below += count
                found.append(f"{self.name}_bucket{_braces((*self.labels, 'le'), (*labels, bound))} {below}")
            named = _braces(self.labels, labels)
            found += [f"{self.name}_sum{named} {_number(total[0])}", f"{self.name}_count{named} {below}"]
        return found


M = TypeVar("M", Counter, Gauge, Histogram)


class Metrics:
    """The metrics of one process; asking twice for a name gives the same one."""

    def __init__(self) -> None:
        self._found: dict[str, Counter | Histogram] = {}

    def counter(self, name: str, help: str, labels: Labels = ()) -> Counter:
        """The counter called `name`."""
        return self._once(Counter, name, help, labels)

    def gauge(self, name: str, help: str, labels: Labels = ()) -> Gauge:
        """The gauge called `name`."""
        return self._once(Gauge, name, help, labels)

    def histogram(self, name: str, help: str, labels: Labels = ()) -> Histogram:
        """The histogram of seconds called `name`."""
        return self._once(Histogram, name, help, labels)

    def text(self) -> str:
        """Everything in Prometheus' text format, version 0.0.4."""
        lines: list[str] = []
        for metric in list(self._found.values()):
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}", *metric.lines()]
        return "\n".join(lines) + "\n"

    def _once(self, kind: type[M], name: str, help: str, labels: Labels) -> M:
        found = self._found.setdefault(name, kind(name, help, labels))
        if type(found) is not kind or found.labels != labels:
            raise TypeError(f"the metric {name} is already a {found.kind} by {found.labels}")
        return found


def samples(text: str) -> Mapping[str, float]:
    """The series of a text in that format, by name with labels; what tests and the bench read."""
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    }


def _braces(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
