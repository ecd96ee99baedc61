"""Where output goes and what the place can show.

Neighbours: `main` makes one a command, everything that prints takes it. Invariant: with `as_json`, stdout carries one JSON document and
nothing else; colours and moving displays only on a terminal, and no colour with NO_COLOR. rich is imported at the first table.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PAPER_WIDTH = 200
"""Columns where there is no terminal: a file has no edge, so nothing is cut."""


@dataclass(frozen=True, slots=True)
class Screen:
    """stdout, stderr and what the user asked for."""

    out: TextIO
    err: TextIO
    environ: Mapping[str, str]
    as_json: bool = False

    @property
    def text(self) -> TextIO:
        """Where lines for people go: stdout, unless a JSON document is wanted there."""
        return self.err if self.as_json else self.out

    @property
    def is_live(self) -> bool:
        """Whether a display may move."""
        return self.text.isatty() and self.environ.get("TERM") != "dumb"

    def console(self) -> "Console":
        """A rich console on the stream for people; foreign text is never markup."""
        from rich.console import Console

        width = None if self.text.isatty() else PAPER_WIDTH
        no_color = bool(self.environ.get("NO_COLOR")) or not self.text.isatty()
        return Console(file=self.text, width=width, no_color=no_color, highlight=False, markup=False, emoji=False)

    def say(self, line: str = "") -> None:
        """A line for people."""
        print(line, file=self.text, flush=True)

    def warn(self, line: str) -> None:
        """A line that must not get lost in what stdout is piped to."""
        print(line, file=self.err, flush=True)

    def show(self, *renderables: "RenderableType") -> None:
        """Tables, one below the other; trailing blanks are left out where lines go to a file."""
        console = self.console()
        if self.text.isatty():
            console.print(*renderables, sep="\n")
            return
        with console.capture() as capture:
            console.print(*renderables, sep="\n")
        self.say("\n".join(line.rstrip() for line in capture.get().splitlines()))

    def document(self, value: Any) -> None:
        """The JSON document; NaN and infinities, which JSON lacks, become null."""
        print(json.dumps(finite(value), ensure_ascii=False, indent=1), file=self.out, flush=True)


def finite(value: Any) -> Any:
    """The same data with null for numbers that JSON cannot carry."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def process_screen(as_json: bool = False) -> Screen:
    """The process's own streams and environment."""
    return Screen(sys.stdout, sys.stderr, os.environ, as_json)
