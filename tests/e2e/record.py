"""What was done, how long it took, what was found: printed as it happens, and kept as docs/results/e2e.md.

Invariant: a line of the page is a thing that ran in this call; what did not run is named as left out, with the reason.
"""

import contextlib
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path


class Broken(Exception):
    """A part could not go on; the others still run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    part: str
    what: str
    holds: bool
    seen: str = ""


@dataclass(slots=True)
class Record:
    """One call of `make e2e`."""

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    steps: list[tuple[str, str, float]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    numbers: list[tuple[str, str, str]] = field(default_factory=list)
    _part: str = ""

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A part of its own: what breaks it is found, and does not end the others."""
        outer, self._part, began = self._part, name, time.monotonic()
        print(f"\n== {name}", flush=True)
        try:
            yield
        except (Broken, AssertionError, LookupError, ValueError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
            traceback.print_exc()
            self.check("runs to its end", False, f"{type(error).__name__}: {error}"[:400])
        self.steps.append((name, "whole part", time.monotonic() - began))
        self._part = outer

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Something that takes time."""
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self.steps.append((self._part, what, seconds))
        print(f"   {seconds:6.1f} s  {what}", flush=True)

    def check(self, what: str, holds: object, seen: object = "") -> bool:
        """Note whether something holds, and what was seen."""
        self.findings.append(Finding(self._part, what, bool(holds), str(seen)[:400]))
        print(f"   {'ok' if holds else 'FAILED':>6}    {what}{f': {seen}' if seen != '' else ''}", flush=True)
        return bool(holds)

    def number(self, what: str, value: str, goal: str = "") -> None:
        """A figure with its goal."""
        self.numbers.append((what, value, goal))
        print(f"   {value:>9}  {what}{f' (goal: {goal})' if goal else ''}", flush=True)

    def leave_out(self, what: str, why: str) -> None:
        """Something that did not run."""
        self.left_out.append((what, why))
        print(f"   not run   {what}: {why}", flush=True)

    @property
    def failed(self) -> list[Finding]:
        """What does not hold."""
        return [one for one in self.findings if not one.holds]

    def page(self, command: str, versions: Sequence[tuple[str, str]]) -> str:
        """The page."""
        minutes = (datetime.now(UTC) - self.began).total_seconds() / 60
        good = len(self.findings) - len(self.failed)
        lines = [
            "# On a real node",
            "",
            f"Written by `{command}` on {self.began:%Y-%m-%d %H:%M} UTC, on {machine()}. It took {minutes:.0f} minutes;",
            f"{good} of {len(self.findings)} findings hold{'' if not self.failed else ', those that do not are marked'}.",
            "How it works: [design note](../design/e2e.md).",
            "",
            *_table(("version of", ""), versions),
            *_table(("figure", "measured", "goal"), self.numbers),
            *_table(("part", "what", "holds", "seen"), [(f.part, f.what, "yes" if f.holds else "**no**", f.seen) for f in self.findings]),
            *_table(("part", "what took time", "s"), [(part, what, f"{seconds:.1f}") for part, what, seconds in self.steps]),
        ]
        if self.left_out:
            lines += ["Not run in this call:", "", *(f"- {what}: {why}" for what, why in self.left_out), ""]
        return "\n".join(lines)

    def write(self, path: Path, command: str, versions: Sequence[tuple[str, str]]) -> None:
        """Replace the page."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.page(command, versions), encoding="utf-8")


def machine() -> str:
    """The machine in a few words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}, load {os.getloadavg()[0]:.1f} at the end"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return [*lines, *(f"| {' | '.join(str(cell).replace('|', '/').replace(chr(10), ' ') for cell in row)} |" for row in rows), ""]
