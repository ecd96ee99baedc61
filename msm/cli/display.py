"""What is shown while a run goes on: moving on a terminal, line by line elsewhere.

Neighbours: `running` opens one and hands its `report` to the session; `lines` and `live` are the two kinds. Invariant: a display never
raises into the run for what it shows, and only shows what a status or a note says.
"""

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from msm.cli.screen import Screen
from msm.cli.words import clean
from msm.clock import Clock
from msm.local.status import RunStatus


class Display(Protocol):
    """A running display; a context manager, so that the terminal is left as it was found."""

    def report(self, status: RunStatus) -> None:
        """Show a new status."""
        ...

    def note(self, text: str) -> None:
        """Show one line beside it, from any thread."""
        ...

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End; what was last shown stays."""
        ...


def open_display(screen: Screen, clock: Clock) -> Display:
    """The display that a place can show."""
    if screen.is_live:
        from msm.cli.live import LiveDisplay

        return LiveDisplay(screen.console())
    from msm.cli.lines import LineDisplay

    return LineDisplay(screen.say, clock)


class WarningLog(logging.Handler):
    """Hands the platform's own warnings to a display while it is open."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        self._note(f"{record.levelname.lower()}: {clean(record.getMessage())}")

    def __enter__(self) -> Self:
        """Begin to listen."""
        logging.getLogger("msm").addHandler(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening."""
        logging.getLogger("msm").removeHandler(self)
