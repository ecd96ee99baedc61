"""Scales and marks: as much of a drawing library as the report's figures need.

Pure. Neighbours: `dots`, `curves`, `bars` draw with it. Why ours: a plotting library's SVG carries fixed colours and fonts, and no titles
that a screen reader can use; these elements take their colours from the page's style sheet, so light, dark and print are one drawing.
Invariant: every text and attribute is escaped here. Cost: microseconds a mark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

CHARACTER = 6.7
"""Width of a letter at the figures' size of type, in user units: what labels are broken by."""


def element(name: str, attributes: dict[str, str | float], *children: str | Markup) -> Markup:
    """One element; a `str` child is escaped, `Markup` is taken as it is. Numbers lose what a screen cannot show."""
    said = "".join(f' {key}="{escape(_plain(value))}"' for key, value in attributes.items())
    inner = "".join(escape(child) for child in children)
    return Markup(f"<{name}{said}>{inner}</{name}>" if children else f"<{name}{said}/>")


def _plain(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def figure(size: tuple[float, float], title: str, description: str, mark: str, *children: Markup) -> Markup:
    """A whole drawing with a name and a description for who cannot see it; `mark` makes its ids unique in the page."""
    width, height = size
    attributes: dict[str, str | float] = {
        "viewBox": f"0 0 {width:g} {height:g}",
        "role": "img",
        "aria-labelledby": f"{mark}-t {mark}-d",
        "class": "figure",
        "style": f"max-width:{width:g}px",
    }
    named = (element("title", {"id": f"{mark}-t"}, title), element("desc", {"id": f"{mark}-d"}, description))
    return element("svg", attributes, *named, *children)


def text(x: float, y: float, said: str, style: str = "", anchor: str = "start") -> Markup:
    """A line of text; `style` is one of the style sheet's classes."""
    attributes: dict[str, str | float] = {"x": x, "y": y, "text-anchor": anchor}
    return element("text", attributes | ({"class": style} if style else {}), said)


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    """A straight line."""
    return element("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "class": style})


@dataclass(frozen=True, slots=True)
class Scale:
    """Data `low`..`high` to positions `start`..`end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The position of a value; one outside stays at the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers within low..high, equally spaced."""
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw - 1e-12)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * n, 12) for n in range(first, last + 1)]


def widened(low: float, high: float) -> tuple[float, float]:
    """The range, moved out to the next round numbers; never empty."""
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    step = (found := ticks(low, high))[1] - found[0] if len(ticks(low, high)) > 1 else high - low
    return math.floor(low / step) * step, math.ceil(high / step) * step


def wrapped(label: str, width: float) -> list[str]:
    """A label in lines that fit a width, broken after dashes, plus signs and blanks; what is longer still is cut hard."""
    most = max(4, int(width / CHARACTER))
    lines = [""]
    for piece in _pieces(label):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > most:
            lines.append("")
        while len(piece) > most:
            lines[-1:] = [piece[:most], ""]
            piece = piece[most:]
        lines[-1] += piece
    return [found.strip() for found in lines if found.strip()] or [""]


def _pieces(label: str) -> Sequence[str]:
    pieces = [""]
    for character in label:
        pieces[-1] += character
        if character in "-+ ":
            pieces.append("")
    return [piece for piece in pieces if piece]
