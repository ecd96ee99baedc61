"""A run as it is shown, whoever executes it: one value, one headline, one table.

Pure; rich is imported where something is drawn. Neighbours: `inspecting` makes a view of what a store keeps, `cluster_view` of a resource;
`watching` draws one again and again. Invariant: the same words for the same thing, on a laptop and in a cluster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msm.cli.screen import Screen
from msm.cli.words import clean, duration
from msm.local.status import StageStatus

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, slots=True)
class RunView:
    """One run. `standstill` stands where the remaining time would, while nobody is at work on it."""

    title: str
    phase: str
    percentage: float
    done: int
    total: int
    stages: Sequence[StageStatus]
    remaining: float | None = None
    is_at_work: bool = False
    standstill: str = ""
    notes: tuple[str, ...] = ()


def headline(view: RunView) -> str:
    """Name, phase, progress, and the remaining time or why there is none."""
    parts = [clean(view.title), view.phase]
    if view.total:
        parts += [f"{view.percentage:.0f}%", f"{view.done} of {view.total} stages done"]
    if view.is_at_work:
        parts.append(f"ETA {duration(view.remaining)}")
    elif view.standstill:
        parts.append(clean(view.standstill))
    return "  ".join(parts)


def remarks(view: RunView) -> list[str]:
    """Lines below the table: what stages say, and what else the user should know."""
    told = [f"{clean(s.name)}: {s.state.value}: {clean(s.message)}" for s in view.stages if s.message]
    return [*told, *(clean(note) for note in view.notes)]


def show_view(view: RunView, screen: Screen) -> None:
    """Print a run once."""
    screen.say(headline(view))
    if view.stages:
        screen.show(stages_of(view))
    for line in remarks(view):
        screen.say(line)


def stages_of(view: RunView) -> "RenderableType":
    """The table of stages."""
    from msm.cli.tables import stage_table

    return stage_table(view.stages)
