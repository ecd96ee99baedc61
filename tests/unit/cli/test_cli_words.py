import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.cli.words import clean, decimal, duration, share, signed

DURATIONS = {0.0: "0s", 59.4: "59s", 59.6: "1m00s", 200: "3m20s", 3840: "1h04m", 183600: "2d03h"}


@pytest.mark.parametrize(("seconds", "words"), DURATIONS.items())
def test_a_duration_is_told_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize("unknown", [None, float("nan"), float("inf"), -1.0])
def test_what_is_not_known_is_a_dash(unknown: float | None) -> None:
    assert duration(unknown) == "-"


@given(st.text())
def test_foreign_text_becomes_one_line_that_cannot_move_the_cursor(text: str) -> None:
    line = clean(text)
    assert "\n" not in line
    assert line.isprintable()
    assert clean(line) == line


def test_an_escape_sequence_loses_its_escape() -> None:
    assert clean("a\x1b[31mred\x07\r\nb") == "a[31mred b"


def test_numbers_that_are_none_are_dashes() -> None:
    assert (decimal(float("nan")), share(None), signed(float("inf"))) == ("-", "-", "-")
    assert (decimal(1.239), share(0.755), signed(0.5), signed(-0.5)) == ("1.24", "76%", "+0.50", "-0.50")
