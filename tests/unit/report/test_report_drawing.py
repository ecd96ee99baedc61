import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from msm.report.curves import smoothed
from msm.report.dots import Mark, panel_range
from msm.report.parts import Point
from msm.report.svg import CHARACTER, Scale, element, ticks, widened, wrapped
from msm.report.words import duration, interval, percent, points, short, signed

numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(numbers, numbers)
def test_ticks_are_equally_spaced_and_within(a: float, b: float) -> None:
    low, high = widened(min(a, b), max(a, b))
    found = ticks(low, high)
    assert low <= min(a, b) + 1e-6 and max(a, b) - 1e-6 <= high
    assert 2 <= len(found) <= 13
    steps = {round((y - x) / (found[1] - found[0]), 6) for x, y in pairwise(found)}
    assert steps == {1.0}


@given(numbers)
def test_a_scale_keeps_to_its_ends(value: float) -> None:
    assert 10 <= Scale(-1, 1, 10, 20)(value) <= 20


@given(st.text(alphabet="abc-+ ", min_size=1, max_size=80), st.floats(40, 400))
def test_a_wrapped_label_loses_nothing_but_blanks_and_fits(label: str, width: float) -> None:
    lines = wrapped(label, width)
    assert "".join("".join(lines).split()) == "".join(label.split())
    assert all(len(line) <= max(4, int(width / CHARACTER)) for line in lines)


def test_an_element_escapes_text_and_attributes_and_keeps_markup() -> None:
    made = element("text", {"class": 'a"b'}, "<b>", Markup("<tspan/>"))
    assert made == '<text class="a&#34;b">&lt;b&gt;<tspan/></text>'


def test_an_interval_of_two_seeds_does_not_squeeze_the_dots() -> None:
    wide = Mark(0, 1.0, -40.0, 42.0, (0.9, 1.1), "")
    low, high = panel_range([wide], 0.0)
    assert low >= -3 and high <= 4


def test_a_moving_mean_of_a_constant_is_that_constant() -> None:
    curve = [Point(update=i, loss=2.0) for i in range(1, 50)]
    assert [p.loss for p in smoothed(curve)] == pytest.approx([2.0] * 49)


SAID = {
    "a negative number has a minus sign": (signed(-0.5), "−0.50"),
    "what rounds to nothing has no sign": (signed(-0.001), "0.00"),
    "a share in percent": (percent(0.415), "42%"),
    "a difference of shares in points": (points(-0.083), "−8"),
    "an interval of margins": (interval(-0.25, 1.5, "margin", False), "[−0.25, 1.50]"),
    "an interval of differences of choices": (interval(-0.25, 0.5, "choice", True), "[−25, +50]"),
    "no interval": (interval(None, None, "margin", True), ""),
    "half a second": (duration(0.5), "0.5s"),
    "an hour": (duration(3660), "1h01m"),
    "a digest is cut": (short("sha256:" + "a" * 64), "sha256:" + "a" * 12),
    "a revision is not": (short("v1.2"), "v1.2"),
}


@pytest.mark.parametrize("case", SAID.values(), ids=SAID)
def test_words(case: tuple[str, str]) -> None:
    assert case[0] == case[1]


def test_ticks_of_a_range_are_round() -> None:
    assert ticks(-2.5, 10) == [-2.5, 0, 2.5, 5, 7.5, 10]
    assert all(math.isclose(value % 0.2, 0, abs_tol=1e-9) or math.isclose(value % 0.2, 0.2, abs_tol=1e-9) for value in ticks(0, 1))
