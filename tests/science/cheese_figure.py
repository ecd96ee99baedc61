"""The figure of docs/results/cheese.md: margins on disjoint items, arm by arm, a dot a seed.

    MSM_HOME=… python -m tests.science.cheese_figure OUT.svg RUN.yaml [RUN.yaml …]

Neighbour: `cheese_tables` reads the runs. One panel a value on one axis of nats; a dot is a seed's mean over items, the thick mark the mean
over seeds. Follows the reader's light or dark preference. Numbers and fixed words only are written into the SVG.
"""

import math
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.science.cheese_tables import PRIMARY, Scores, of_cell, read

LEFT, WIDTH, ROW, HEAD, GAP = 170, 320, 26, 34, 34
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .soft { fill: #59636e; font-size: 12px }
line { stroke: #d1d9e0 } .zero { stroke: #59636e } circle { fill: #0969da; fill-opacity: .55 } .mean { stroke: #0a3069; stroke-width: 3 }
.own circle { fill: #bc4c00 } .own .mean { stroke: #762c00 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .soft { fill: #9198a1 } line { stroke: #3d444d } .zero { stroke: #9198a1 } circle { fill: #4493f8 }
.mean { stroke: #a5d6ff } .own circle { fill: #f0883e } .own .mean { stroke: #ffc680 } }
"""


def means(scores: Scores, value: str) -> dict[str, list[float]]:
    """Arm -> each seed's mean margin on the value's disjoint items."""
    arms = next(iter(scores.values()))
    return {arm: [statistics.fmean(s.margin for s in of_cell(seed[arm], value, "disjoint")) for seed in scores.values()] for arm in arms}


def draw(scores: Scores) -> str:
    """The whole SVG."""
    found = {value: means(scores, value) for value, _ in PRIMARY}
    points = [m for arms in found.values() for row in arms.values() for m in row]
    low, high = math.floor(min(points)), math.ceil(max(points))
    rows = len(next(iter(found.values())))
    width, height = LEFT + 2 * WIDTH + GAP + 20, HEAD + rows * ROW + 44
    body = [line for number, (value, own) in enumerate(PRIMARY) for line in _panel(found[value], value, own, number, (low, high))]
    at = enumerate(found["america"])
    names = [f'<text x="{LEFT - 14}" y="{HEAD + (row + 0.5) * ROW + 4:.0f}" text-anchor="end">{arm}</text>' for row, arm in at]
    label = f"Margins on disjoint items by arm, {len(scores)} seeds"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{label}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *names, *body, "</svg>", ""])


def _panel(arms: Mapping[str, Sequence[float]], value: str, own: str, number: int, ends: tuple[int, int]) -> Iterator[str]:
    left, (low, high) = LEFT + number * (WIDTH + GAP), ends
    bottom = HEAD + len(arms) * ROW

    def x(nats: float) -> float:
        return left + (nats - low) / (high - low) * WIDTH

    yield f'<text x="{left}" y="20">{value}, disjoint items</text>'
    for tick in range(low, high + 1):
        kind = "zero" if tick == 0 else "grid"
        yield f'<line class="{kind}" x1="{x(tick):.1f}" y1="{HEAD}" x2="{x(tick):.1f}" y2="{bottom}"/>'
        yield f'<text class="soft" x="{x(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{f"{tick:+d}" if tick else "0"}</text>'
    yield f'<text class="soft" x="{left}" y="{bottom + 34}">margin in nats; a dot is a seed</text>'
    for at, (arm, seeds) in enumerate(arms.items()):
        yield from _row(x, seeds, HEAD + (at + 0.5) * ROW, own=arm == own)


def _row(x: Callable[[float], float], seeds: Sequence[float], y: float, *, own: bool) -> Iterator[str]:
    middle = x(statistics.fmean(seeds))
    yield '<g class="own">' if own else "<g>"
    yield from (f'<circle cx="{x(seed):.1f}" cy="{y:.1f}" r="4.5"/>' for seed in seeds)
    yield f'<line class="mean" x1="{middle:.1f}" y1="{y - 8:.1f}" x2="{middle:.1f}" y2="{y + 8:.1f}"/></g>'


def main(arguments: Sequence[str]) -> None:
    """Write the figure."""
    Path(arguments[0]).write_text(draw(read(arguments[1:])), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
