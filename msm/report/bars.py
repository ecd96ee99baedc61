"""Plain horizontal bars: what became of documents, which genres they are, where the time went.

Pure. Neighbours: `figures` says what of. Invariant: the number stands beside the bar, so the bar is never the only carrier.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from msm.report.svg import element, figure, text

WIDTH, ROW, LABELS, NUMBERS = 396.0, 24.0, 164.0, 96.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A name, an amount, how it is written, and whether it is the one to look at."""

    label: str
    amount: float
    said: str
    is_main: bool = True


def draw(title: str, bars: Sequence[Bar], mark: str) -> Markup:
    """The bars, in the order given."""
    most = max((bar.amount for bar in bars), default=0.0) or 1.0
    made = []
    for number, bar in enumerate(bars):
        top, length = number * ROW + 3, (WIDTH - LABELS - NUMBERS) * bar.amount / most
        shown = bar.label if len(bar.label) <= 22 else bar.label[:21] + "…"
        made.append(text(LABELS - 10, top + 14, shown, "label plain", "end"))
        style = "block" if bar.is_main else "block quiet"
        made.append(element("rect", {"x": LABELS, "y": top + 2, "width": max(length, 1.5), "height": ROW - 9, "rx": 2.0, "class": style}))
        made.append(text(LABELS + max(length, 1.5) + 8, top + 14, bar.said, "number"))
    said = "; ".join(f"{bar.label}: {bar.said}" for bar in bars)
    return figure((WIDTH, len(bars) * ROW + 4), title, said, mark, *made)
