"""What of a report is the training's and what is the clock's."""

import json
from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from msm.train.outcome import StepReport
from msm.train.timing import OF_THE_CLOCK, lasting, read_reports, timing, totals

numbers = st.floats(0.001, 1e6)


@given(st.integers(1, 10**6), numbers, numbers, numbers)
def test_every_column_is_the_trainings_or_the_clocks_and_only_the_step_is_both(step: int, loss: float, seconds: float, time: float) -> None:
    report = asdict(StepReport(step, step, loss, 1e-4, 1.0, 8, 8 / seconds, seconds, time))
    kept, told = lasting(report), timing(report)
    assert {**kept, **told} == report
    assert set(kept) & set(told) == {"step"}
    assert not set(kept) & set(OF_THE_CLOCK)


@given(st.integers(1, 10**6), numbers, numbers)
def test_two_reports_that_differ_in_time_alone_last_as_the_same(step: int, one: float, two: float) -> None:
    first, second = (asdict(StepReport(step, step, 1.0, 1e-4, 1.0, 8, 8 / taken, taken, taken)) for taken in (one, two))
    assert json.dumps(lasting(first)) == json.dumps(lasting(second))


def test_the_speed_leaves_the_first_update_out_and_the_time_does_not() -> None:
    reports = [{"tokens": 10, "seconds": 9.0}, {"tokens": 10, "seconds": 1.0}, {"tokens": 30, "seconds": 1.0}]
    assert totals(reports) == {"seconds": 11.0, "tokensPerSecond": 20.0}
    assert totals(reports[:1]) == {"seconds": 9.0, "tokensPerSecond": 10 / 9}


def test_the_line_that_opens_an_attempt_is_no_update(tmp_path) -> None:
    path = tmp_path / "progress.jsonl"
    path.write_text("".join(json.dumps(asdict(StepReport(step, 2))) + "\n" for step in (0, 1, 2)))
    assert [report["step"] for report in read_reports(path)] == [1, 2]
