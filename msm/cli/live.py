"""Progress on a terminal: a header, the stages as a table that moves, the last notes under it.

Neighbours: `display` chooses it. Invariant: never higher than the terminal (the stages at work stay visible), redrawn only when a status or
a note comes; the last picture stays on the screen. Cost: a redraw is a few milliseconds, twice a second.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from msm.cli.tables import stage_table
from msm.cli.words import clean, duration
from msm.local.eta import OVER, remaining_seconds
from msm.local.status import Phase, RunStatus, StageStatus, State

NOTES = 4
"""Notes that are kept in sight."""
AROUND = 6
"""Lines that are not stages: header, blank lines, column names, what is hidden above and below."""


class LiveDisplay:
    """One rich Live; drawing is serialised, so a note may come from another thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._notes: deque[str] = deque(maxlen=NOTES)
        self._status: RunStatus | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave it as it was, the last picture standing."""
        self._live.stop()

    def report(self, status: RunStatus) -> None:
        """Draw a new status."""
        self._status = status
        self._draw()

    def note(self, text: str) -> None:
        """Draw one line more."""
        self._notes.append(text)
        self._draw()

    def _draw(self) -> None:
        with self._lock:
            if self._status is None:
                self._console.print(Text(self._notes[-1]))
            else:
                self._live.update(picture(self._status, tuple(self._notes), self._console.size.height), refresh=True)


def picture(status: RunStatus, notes: Sequence[str], height: int) -> RenderableType:
    """Header, stages and notes, at most `height` lines."""
    remarks = [*_remarks(status), *(Text(clean(note), style="yellow", no_wrap=True, overflow="ellipsis") for note in notes)]
    above, shown, below = window(status.stages, max(1, height - AROUND - len(remarks)))
    parts: list[RenderableType] = [_header(status), Text()]
    if above:
        parts.append(Text(f"✓ {above} stages above", style="dim"))
    parts.append(stage_table(shown))
    if below:
        parts.append(Text(f"· {below} stages below", style="dim"))
    return Group(*parts, *remarks)


def window(stages: Sequence[StageStatus], room: int) -> tuple[int, Sequence[StageStatus], int]:
    """As many stages as fit, from a little before the first that is not over; how many are hidden above and below."""
    first = next((place for place, stage in enumerate(stages) if stage.state not in OVER), len(stages))
    start = max(0, min(first - 2, len(stages) - room))
    shown = stages[start : start + room]
    return start, shown, len(stages) - start - len(shown)


def _header(status: RunStatus) -> Table:
    bar = ProgressBar(total=100, completed=status.percentage, width=24)
    times = f"{status.percentage:.0f}%  ETA {duration(remaining_seconds(status))}  {duration(_elapsed(status))} so far"
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_row(Text(clean(status.run), style="bold"), bar, Text(times if status.phase is Phase.RUNNING else _closing(status)))
    return line


def _closing(status: RunStatus) -> str:
    return f"{status.percentage:.0f}%  {status.phase.value.lower()} after {duration(_elapsed(status))}"


def _elapsed(status: RunStatus) -> float:
    return (status.updated - status.started).total_seconds()


def _remarks(status: RunStatus) -> Iterator[Text]:
    """Why stages wait, failed or follow somebody; the newest few."""
    told = [s for s in status.stages if s.message and s.state in (State.WAITING, State.FAILED, State.FOLLOWING)]
    for stage in told[-NOTES:]:
        style = "red" if stage.state is State.FAILED else "yellow"
        yield Text(f"{clean(stage.name)}: {stage.state.value}: {clean(stage.message)}", style=style, no_wrap=True, overflow="ellipsis")
