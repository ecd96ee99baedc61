"""`msm status -w`: one run, looked at until it is over.

Neighbours: `remote` looks, `view` says what is drawn. Invariant: on a terminal the picture moves and is never higher than it; elsewhere a
line stands for itself and comes when something turned, or a minute later. Ctrl-C ends the looking, never the run.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msm.cli.screen import Screen
from msm.cli.view import RunView, headline, remarks
from msm.clock import Clock

if TYPE_CHECKING:
    from rich.console import RenderableType

EVERY_SECONDS = 3.0
QUIET_SECONDS = 60.0
"""Between two lines that say only how far it is."""
AROUND = 4
"""Lines of a picture that are neither stages nor remarks."""


def watch(look: Callable[[], tuple[RunView, bool]], screen: Screen, clock: Clock) -> RunView:
    """Draw what `look` sees until it says that the run is over; the last view."""
    with _drawing(screen, clock) as draw:
        view, is_over = look()
        while not is_over:
            draw(view)
            clock.sleep(EVERY_SECONDS)
            view, is_over = look()
        draw(view)
        return view


@contextmanager
def _drawing(screen: Screen, clock: Clock) -> Iterator[Callable[[RunView], None]]:
    if not screen.is_live:
        yield LinePrinter(screen, clock)
        return
    from rich.live import Live

    console = screen.console()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda view: live.update(picture(view, console.size.height), refresh=True)


def picture(view: RunView, height: int) -> "RenderableType":
    """Headline, stages and remarks, at most `height` lines: the stages at work stay in sight."""
    from rich.console import Group
    from rich.text import Text

    from msm.cli.live import window
    from msm.cli.tables import stage_table

    below = [Text(line, style="yellow", no_wrap=True, overflow="ellipsis") for line in remarks(view)[-AROUND:]]
    above, shown, under = window(view.stages, max(1, height - AROUND - len(below)))
    hidden = [Text(f"· {above + under} more stages", style="dim")] if above + under else []
    return Group(Text(headline(view), style="bold"), stage_table(shown), *hidden, *below)


class LinePrinter:
    """Prints a line when a stage or the run turned, and now and then in between."""

    def __init__(self, screen: Screen, clock: Clock) -> None:
        self._screen, self._clock = screen, clock
        self._turn: object = None
        self._said: set[str] = set()
        self._at = float("-inf")

    def __call__(self, view: RunView) -> None:
        """Print what is new of a view."""
        turn = (view.phase, view.done, view.standstill, tuple((s.name, s.state) for s in view.stages))
        now = self._clock.monotonic()
        if turn != self._turn or now - self._at >= QUIET_SECONDS:
            self._screen.say(headline(view))
            self._turn, self._at = turn, now
        for line in remarks(view):
            if line not in self._said:
                self._said.add(line)
                self._screen.say(line)
