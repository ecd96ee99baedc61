"""What a few rows say of many: shares and means with their intervals."""

from hypothesis import given, settings
from hypothesis import strategies as st

from msm.preview.sample import Between, Sample, mean_interval, needed_surplus

Sizes = st.lists(st.integers(0, 5000), min_size=1, max_size=40)


@settings(deadline=None)
@given(Sizes)
def test_an_interval_holds_its_mean(sizes: list[int]) -> None:
    found = mean_interval([float(size) for size in sizes])
    assert found.low <= found.mean + 1e-9
    assert found.high >= found.mean - 1e-9
    assert found.low >= found.mean / 4 - 1e-9


def test_the_interval_is_students() -> None:
    found = mean_interval([1.0, 2.0, 3.0])
    assert [round(value, 3) for value in (found.mean, found.low, found.high)] == [2.0, 0.5, 4.484]


@given(st.integers(0, 40), st.integers(0, 40))
def test_a_surplus_that_is_called_safe_covers_the_low_end_of_the_share(passed: int, dropped: int) -> None:
    row = {"provenance": {}}
    share = Sample((row,) * passed, ({**row, "reason": "too long"},) * dropped, 0, ()).passed_share
    assert 0 <= share.low <= share.mean <= share.high <= 1
    surplus = needed_surplus(share)
    assert (surplus is None) == (share.low == 0)
    if surplus is not None:
        assert surplus * share.low >= 1 - 1e-9
        assert (surplus - 0.05) * share.low < 1


def test_scores_and_reasons_are_counted_over_all_rows() -> None:
    rows = [{"provenance": {"scores": {"naturalness": n}}} for n in (9, 4, 6)]
    sample = Sample((rows[0],), tuple({**row, "reason": "low score"} for row in rows[1:]), 4, (700, 0, 650, 0))
    assert sample.scores() == {"naturalness": (4.0, 6.0, 9.0)}
    assert sample.reasons == {"low score": 2}
    assert sample.brought(in_tokens=False).mean == 0.5
    assert needed_surplus(Between(0.0, 0.0, 0.2)) is None
