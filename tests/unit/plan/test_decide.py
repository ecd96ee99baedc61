from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.errors import Exit
from msm.plan.decide import Action, Attempt, Ending, Fail, Start, WaitUntil, blocked, classify, needed, next_attempt, ready, stale
from tests.runs import example, plan

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLAN = plan(example())
ALL = frozenset(s.fingerprint for s in PLAN.stages)


def ended(ending: Ending, seconds_ago: float = 0, step: int = 0) -> Attempt:
    return Attempt(ending, NOW - timedelta(seconds=seconds_ago), step, "why")


ATTEMPTS: dict[str, tuple[list[Attempt], Action]] = {
    "a first attempt starts at once": ([], Start()),
    "the user's mistake is never retried": ([ended(Ending.USER_ERROR)], Fail("InvalidInput", "why")),
    "a fault is retried after a delay": ([ended(Ending.FAULT)], WaitUntil(NOW + timedelta(seconds=5))),
    "a fault is retried once the delay is over": ([ended(Ending.FAULT, 6)], Start()),
    "a second fault waits twice as long": ([ended(Ending.FAULT, 99), ended(Ending.FAULT)], WaitUntil(NOW + timedelta(seconds=10))),
    "faults above the limit give the stage up": (
        [ended(Ending.FAULT, 60), ended(Ending.FAULT, 40), ended(Ending.FAULT)],
        Fail("RetriesExhausted", "3 faults; the last: why"),
    ),
    "a preempted attempt is retried at once and not counted": (
        [ended(Ending.PREEMPTED, step=i) for i in range(9)],
        Start(),
    ),
    "three preemptions without a new step give the stage up": (
        [ended(Ending.PREEMPTED, step=7) for _ in range(3)],
        Fail("NoProgress", "preempted 3 times in a row at step 7; why"),
    ),
    "try-again does not count as a fault": ([ended(Ending.TRY_AGAIN, 9999) for _ in range(20)], Start()),
}


@pytest.mark.parametrize("case", ATTEMPTS.values(), ids=ATTEMPTS)
def test_next_attempt(case: tuple[list[Attempt], Action]) -> None:
    attempts, action = case
    assert next_attempt(attempts, limit=2, deadline=timedelta(days=1), started=NOW - timedelta(hours=1), now=NOW) == action


def test_trying_again_ends_at_the_deadline() -> None:
    attempts = [ended(Ending.TRY_AGAIN)]
    action = next_attempt(attempts, 2, timedelta(hours=1), NOW - timedelta(hours=2), NOW)
    assert isinstance(action, Fail)
    assert action.reason == "DeadlineExceeded"


CODES = {
    "code 0 without a manifest is a fault": (Exit.COMMITTED, False, Ending.FAULT),
    "a committed artifact counts whatever the code": (None, True, Ending.COMMITTED),
    "code 2 is the user's mistake": (2, False, Ending.USER_ERROR),
    "code 75 is try again": (75, False, Ending.TRY_AGAIN),
    "code 143 is a preemption": (143, False, Ending.PREEMPTED),
    "a kill is a fault": (None, False, Ending.FAULT),
}


@pytest.mark.parametrize("case", CODES.values(), ids=CODES)
def test_classify(case: tuple[int | None, bool, Ending]) -> None:
    code, committed, ending = case
    assert classify(code, committed) == ending


def test_nothing_is_needed_when_models_and_evaluations_are_committed_even_if_their_inputs_are_gone() -> None:
    targets = {s.fingerprint for s in PLAN.stages if s.kind in ("midtrain", "finetune", "evaluate", "fetch")}
    assert needed(PLAN, targets) == ()


def test_a_lost_input_of_an_uncommitted_stage_is_needed_again() -> None:
    evaluation = next(s for s in PLAN.stages if s.kind == "evaluate")
    fetch = next(s for s in PLAN.stages if s.kind == "fetch")
    left = needed(PLAN, ALL - {evaluation.fingerprint, fetch.fingerprint})
    assert {s.kind for s in left} == {"fetch", "evaluate"}


@given(st.sets(st.sampled_from(sorted(ALL))))
def test_a_ready_stage_is_uncommitted_and_has_all_its_inputs(committed: set[str]) -> None:
    for stage in ready(PLAN, committed, ()):
        assert stage.fingerprint not in committed
        assert all(ref.fingerprint in committed for ref in stage.needs)


@given(st.randoms())
def test_running_what_is_ready_ends_with_everything_needed_committed(rng: object) -> None:
    committed: set[str] = set()
    while left := ready(PLAN, committed, ()):
        committed.add(rng.choice(left).fingerprint)  # type: ignore[attr-defined]
    assert needed(PLAN, committed) == ()


def test_what_reads_a_lost_stage_is_blocked_and_nothing_else() -> None:
    lost = next(s for s in PLAN.stages if s.name == "write thrift")
    names = {s.name for s in PLAN.stages if s.fingerprint in blocked(PLAN, {lost.fingerprint})}
    assert "midtrain thrift seed 0" in names
    assert not any("america" in name for name in names)


def test_a_changed_input_makes_a_stage_stale() -> None:
    assert stale({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == ("b",)
