"""Gates, judged over scores that follow a rule."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.api.run import Gate
from msm.evals.gates import judge_run, judge_version, measured, parse_metric
from msm.evals.scores import ItemScore

PARSED = {
    "values.america": ("values", "america", None, "margin"),
    "values.america.free": ("values", "america", "free", "margin"),
    "values.america.free.choice": ("values", "america", "free", "choice"),
    "values.america.choice": ("values", "america", None, "choice"),
    "values": None,
    "values.america.free.choice.more": None,
    "values..free": None,
    ".america": None,
}


@dataclass(frozen=True)
class VersionGate:
    metric: str = "values.america"
    minimum: float | None = None
    min_effect: float | None = None
    confidence: float = 0.95


def scores(margins: list[float], set_: str = "free", choice: float | None = 1.0) -> list[ItemScore]:
    return [
        ItemScore(f"{set_}-{i}", "america", set_, "goods", m, m, (m, m), choice, ("a", "b") if choice is not None else None)
        for i, m in enumerate(margins)
    ]


def gate(**changes: object) -> Gate:
    return Gate.model_validate({"metric": "values.america", "compareTo": "aft", "minEffect": 0.1, **changes})


def seeds(lift: float, count: int = 3) -> dict:
    """Arms whose difference is the lift, a little more with each seed."""
    base = [1.0, 2.0, 4.0]
    return {
        "values": {
            s: {"aft": scores(base), "msm": scores([m + lift + 0.05 * s + 0.01 * i for i, m in enumerate(base)])} for s in range(count)
        }
    }


@pytest.mark.parametrize(("name", "parts"), PARSED.items(), ids=PARSED.keys())
def test_a_metric_says_eval_value_set_and_measure(name: str, parts: tuple | None) -> None:
    found = parse_metric(name)
    assert (None if found is None else (found.evaluation, found.value, found.set, found.measure)) == parts


def test_an_effect_that_is_large_and_sure_passes() -> None:
    (verdict,) = judge_run([gate()], "msm", seeds(1.0))
    assert verdict.passed
    assert verdict.value == pytest.approx(1.06)
    assert verdict.low is not None and 0 < verdict.low < verdict.value


def test_an_effect_below_the_least_fails_however_sure_it_is() -> None:
    (verdict,) = judge_run([gate(minEffect=3.0)], "msm", seeds(1.0))
    assert not verdict.passed
    assert "needed at least 3, and the 95 % interval above zero" in str(verdict)


def test_an_effect_whose_interval_reaches_zero_fails_however_large_it_is() -> None:
    found = {"values": {0: {"aft": scores([0.0, 0.0, 0.0]), "msm": scores([9.0, -1.0, 1.0])}}}
    (verdict,) = judge_run([gate()], "msm", found)
    assert verdict.value == 3.0
    assert not verdict.passed


def test_more_confidence_asks_for_a_wider_interval() -> None:
    less, more = judge_run([gate(confidence=0.8), gate(confidence=0.99)], "msm", seeds(1.0))
    assert less.low is not None and more.low is not None and more.low < less.low


UNMEASURED = {
    "an eval that the run has not": {"metric": "speed.america"},
    "a value that no item has": {"metric": "values.thrift"},
    "a set that no item has": {"metric": "values.america.disjoint"},
    "an arm that was not evaluated": {"compareTo": "base"},
    "no metric at all": {"metric": "america"},
}


@pytest.mark.parametrize("change", UNMEASURED.values(), ids=UNMEASURED.keys())
def test_what_was_not_measured_does_not_pass(change: dict) -> None:
    (verdict,) = judge_run([gate(**change)], "msm", seeds(1.0))
    assert (verdict.value, verdict.passed) == (None, False)


def test_without_a_set_the_items_of_all_sets_count_alike() -> None:
    rows = scores([1.0, 1.0], "free") + scores([4.0, 4.0], "disjoint")
    assert measured("values.america", {"values": rows}) is not None
    assert measured("values.america", {"values": rows})[0] == 2.5  # type: ignore[index]
    assert measured("values.america.disjoint", {"values": rows})[0] == 4.0  # type: ignore[index]


def test_a_first_version_has_nothing_to_be_compared_with() -> None:
    assert judge_version([VersionGate(min_effect=1.0)], "1", {"values": scores([0.0, 0.0])}, "", {}) == []
    (verdict,) = judge_version([VersionGate(min_effect=1.0, minimum=0.5)], "1", {"values": scores([0.0, 0.0])}, "", {})
    assert not verdict.passed


def test_a_difference_must_hold_over_its_whole_interval() -> None:
    new, old = {"values": scores([1.0, 1.2, 1.4, 0.8])}, {"values": scores([0.0, 0.0, 0.0, 0.0])}
    verdicts = judge_version([VersionGate(min_effect=0.5), VersionGate(min_effect=1.05)], "2", new, "1", old)
    assert [verdict.passed for verdict in verdicts] == [True, False]
    assert verdicts[1].value is not None and verdicts[1].value > 1.05


def test_a_version_that_has_no_scores_fails_every_gate() -> None:
    verdicts = judge_version([VersionGate(minimum=-9.0, min_effect=-9.0)], "2", {}, "1", {"values": scores([0.0, 1.0])})
    assert [(v.value, v.passed) for v in verdicts] == [(None, False), (None, False)]


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.floats(-5, 5), st.floats(0.001, 3))
def test_raising_every_score_never_fails_a_gate_that_passed(margins: list[float], least: float, lift: float) -> None:
    gates = [VersionGate(minimum=least, min_effect=least)]
    old = {"values": scores([0.0] * len(margins))}
    before = judge_version(gates, "2", {"values": scores(margins)}, "1", old)
    after = judge_version(gates, "2", {"values": scores([m + lift for m in margins])}, "1", old)
    assert all(b.passed or not a.passed for a, b in zip(before, after, strict=True))
