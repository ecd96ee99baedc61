"""Training curves as small multiples: loss over updates, one line a seed, one drawing for each group of trainings.

Pure. Neighbours: `figures` groups the trainings. Invariant: drawings of a kind share their axes, so that they can be compared by eye; the
faint line is what was recorded, the strong one its moving mean.
"""

from collections.abc import Sequence

from markupsafe import Markup

from msm.report.parts import Point, Training
from msm.report.svg import Scale, element, figure, line, text, ticks, widened

WIDTH, HEIGHT = 330.0, 178.0
LEFT, TOP, BOTTOM = 34.0, 10.0, 30.0
WINDOW = 12
"""A moving mean's share of the curve: a twelfth, at least three points."""


def draw(group: str, trainings: Sequence[Training], mark: str, ranges: tuple[int, float]) -> Markup:
    """One group; `ranges`: the last update and the highest loss of all groups that share the axes."""
    low, high = widened(0.0, ranges[1])
    across = Scale(0.0, float(max(1, ranges[0])), LEFT, WIDTH - 8)
    up = Scale(low, high, HEIGHT - BOTTOM, TOP)
    made = [*_axes(across, up, ranges[0])]
    for number, training in enumerate(trainings):
        style = f"c{number % 5}"
        made.append(element("polyline", {"points": _path(training.points, across, up), "class": f"raw {style}"}))
        smooth = element("title", {}, f"seed {training.seed}")
        made.append(element("polyline", {"points": _path(smoothed(training.points), across, up), "class": f"curve {style}"}, smooth))
    ends = "; ".join(f"seed {t.seed} ends at {t.final_loss:.2f}" for t in trainings if t.final_loss is not None)
    return figure((WIDTH, HEIGHT), f"Loss of {group}", f"Loss a target token in nats over updates. {ends}.", mark, *made)


def _axes(across: Scale, up: Scale, updates: int) -> list[Markup]:
    made = []
    for value in ticks(up.low, up.high, 4):
        made.append(line(LEFT, up(value), WIDTH - 8, up(value), "grid"))
        made.append(text(LEFT - 6, up(value) + 4, f"{value:g}", "tick", "end"))
    for value in ticks(0, updates, 4):
        made.append(text(across(value), HEIGHT - BOTTOM + 16, f"{value:g}", "tick", "middle"))
    return [*made, text(WIDTH - 8, HEIGHT - 1, "updates", "tick", "end")]


def smoothed(points: Sequence[Point]) -> list[Point]:
    """The centred moving mean."""
    half = max(1, len(points) // WINDOW // 2)
    found = []
    for place, point in enumerate(points):
        near = points[max(0, place - half) : place + half + 1]
        found.append(Point(update=point.update, loss=sum(p.loss for p in near) / len(near)))
    return found


def _path(points: Sequence[Point], across: Scale, up: Scale) -> str:
    return " ".join(f"{across(point.update):.1f},{up(point.loss):.1f}" for point in points)
