"""The status: what it remembers, when it is written, how large it gets, which events it makes."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from msm.plan.decide import Attempt, Ending, next_attempt
from msm_operator.status.changes import events, is_worth_writing
from msm_operator.status.conditions import Wanted, conditions
from msm_operator.status.history import Ended, History, from_row, to_row
from msm_operator.status.model import PlanCounts, Row, Status, histories
from msm_operator.status.reasons import ConditionType, Reason

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ends = st.tuples(st.sampled_from([Ending.FAULT, Ending.TRY_AGAIN, Ending.PREEMPTED, Ending.USER_ERROR]), st.integers(0, 3))


def replay(found: list[tuple[Ending, int]]) -> tuple[History, list[Attempt]]:
    """The same ends as a history and as the full list; steps never fall."""
    history, attempts, step = History(), [], 0
    for number, (ending, more) in enumerate(found, 1):
        step += more if more > 1 else 0
        when = NOW + timedelta(seconds=number)
        history = history.begun(number).with_ending(number, Ended(ending, Reason.FAULT, "x", when), step)
        attempts.append(Attempt(ending, when, step, "Fault: x"))
    return history, attempts


@settings(deadline=None)
@given(found=st.lists(ends, max_size=12), limit=st.integers(0, 4), later=st.integers(0, 2000))
def test_what_is_remembered_decides_as_the_whole_list_of_attempts(found: list[tuple[Ending, int]], limit: int, later: int) -> None:
    history, attempts = replay(found)
    now, deadline = NOW + timedelta(seconds=later), timedelta(hours=1)
    assert next_attempt(history.seen(), limit, deadline, NOW, now) == next_attempt(attempts, limit, deadline, NOW, now)


@settings(deadline=None)
@given(found=st.lists(ends, max_size=6), active=st.booleans(), spent=st.integers(0, 9))
def test_a_history_survives_its_row(found: list[tuple[Ending, int]], active: bool, spent: int) -> None:
    history, _ = replay(found)
    history = history.begun(history.attempts + 1).counting(NOW) if active else history
    history = history.paused(NOW + timedelta(seconds=spent))
    assert from_row(json.loads(json.dumps(to_row(history)))) == history


def test_time_that_is_paused_counts_once() -> None:
    history = History().counting(NOW).paused(NOW + timedelta(seconds=10)).counting(NOW + timedelta(seconds=100))
    assert history.spent_at(NOW + timedelta(seconds=105)) == 15


def row(number: int, **changes: Any) -> Row:
    last = Ended(Ending.FAULT, Reason.FAULT, "x" * 2000, NOW)
    history = History(attempts=3, faults=3, try_agains=2, step=100000, last=last, started=NOW, spent=12345.6).begun(4)
    long = {"reason": Reason.RETRIES_EXHAUSTED, "message": "y" * 2000, "percentage": 99.0, "next_retry": NOW}
    return Row(
        f"finetune {'cheese+instruct' * 5} seed {number}", "finetune", f"{number:04x}" * 16, "waiting", history, **{**long, **changes}
    )  # type: ignore[arg-type]


def test_500_stages_that_all_failed_at_length_stay_below_256_kilobytes() -> None:
    failed = Wanted(ConditionType.FAILED, "True", Reason.STAGES_FAILED, "z" * 100_000)
    status = Status(1, [failed], "run", PlanCounts("a" * 64, 500, 0, 0, 64), rows=[row(n) for n in range(500)]).to_dict({}, NOW)
    assert len(json.dumps(status, separators=(",", ":"), ensure_ascii=False).encode()) < 240 * 1024, "what the user wrote needs room too"
    assert len(histories(status)) == 500


def test_few_stages_keep_their_messages() -> None:
    status = Status(1, [], rows=[row(n) for n in range(20)]).to_dict({}, NOW)
    assert all(len(r["message"]) == 240 for r in status["stages"])


def test_a_conditions_time_moves_with_its_status_alone() -> None:
    one = conditions([Wanted(ConditionType.PROGRESSING, "True", Reason.WAITING, "a")], [], 1, NOW)
    later = conditions([Wanted(ConditionType.PROGRESSING, "True", Reason.STAGES_RUNNING, "b")], one, 2, NOW + timedelta(hours=1))
    turned = conditions([Wanted(ConditionType.PROGRESSING, "False", Reason.FINISHED)], later, 2, NOW + timedelta(hours=2))
    assert later[0]["lastTransitionTime"] == one[0]["lastTransitionTime"]
    assert (later[0]["observedGeneration"], later[0]["reason"]) == (2, "StagesRunning")
    assert turned[0]["lastTransitionTime"] != one[0]["lastTransitionTime"]


def said(percentage: int, state: str = "running", **more: Any) -> dict[str, Any]:
    row = {"name": "s", "kind": "midtrain", "fingerprint": "abc", "state": state, "percentage": percentage}
    return {"progress": {"percentage": percentage, "estimatedRemainingSeconds": 1000 - percentage}, "stages": [row], **more}


def test_numbers_that_creep_are_written_on_a_point_or_after_half_a_minute() -> None:
    before = said(10)
    creeping = {**before, "progress": {"percentage": 10, "estimatedRemainingSeconds": 900}}
    assert not is_worth_writing(before, before, 1e9)
    assert not is_worth_writing(before, creeping, 5)
    assert is_worth_writing(before, creeping, 30)
    assert is_worth_writing(before, said(11), 0)
    assert is_worth_writing(before, said(10, "waiting"), 0)


def test_each_transition_makes_one_event_and_standing_still_none() -> None:
    def condition(type_: str, status: str, reason: str) -> dict[str, Any]:
        return {"type": type_, "status": status, "reason": reason, "message": "m"}

    start = {"conditions": [condition("Accepted", "True", "Planned"), condition("Succeeded", "False", "NotFinished")], **said(1)}
    assert [e.reason for e in events({}, start)] == ["Planned"]
    assert events(start, start) == []
    done = {**start, "conditions": [start["conditions"][0], condition("Succeeded", "True", "AllCommitted")]}
    assert [(e.type, e.reason) for e in events(start, done)] == [("Normal", "AllCommitted")]
    down = {**start, "conditions": [*start["conditions"], condition("StoreAvailable", "False", "Unreachable")]}
    assert [(e.type, e.reason) for e in events(start, down)] == [("Warning", "Unreachable")]


def test_every_reason_has_a_section_in_the_troubleshooting_page() -> None:
    page = (Path(__file__).parents[3] / "docs/guide/troubleshooting.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^### (\w+)$", page, re.M))
    assert {reason.value for reason in Reason} - sections == set()
    assert sections - {reason.value for reason in Reason} == set()
