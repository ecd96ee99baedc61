"""Where a run stands, and when waiting for it ends."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msm.cluster.objects import RunObject, Standing
from msm.cluster.waiting import EVERY_SECONDS, Goal, Outcome, decided, wait_for
from tests.unit.cluster_client.scripted_cluster import (
    ACCEPTED,
    FAILED,
    REFUSED,
    RESOLVING,
    RUNNING,
    SUCCEEDED,
    SUSPENDED,
    FakeClock,
    Object,
    run_object,
    silence,
)

STALE = run_object("cheese", REFUSED)
STALE["metadata"]["generation"] = 2
STALE["status"]["conditions"][0]["observedGeneration"] = 1
DELETING = run_object("cheese", ACCEPTED, RUNNING)
DELETING["metadata"]["deletionTimestamp"] = "2026-05-01T00:00:00Z"
STANDINGS: dict[str, tuple[Object, Standing, str]] = {
    "nobody has seen it": (run_object(), Standing.NEW, ""),
    "its inputs are being resolved": (run_object("c", RESOLVING), Standing.RESOLVING, "Resolving: inputs are being resolved"),
    "it was refused": (run_object("c", REFUSED), Standing.REFUSED, f"{REFUSED[2]}: {REFUSED[3]}"),
    "it was refused before it was changed": (STALE, Standing.RESOLVING, f"{REFUSED[2]}: {REFUSED[3]}"),
    "it runs": (run_object("c", ACCEPTED, RUNNING), Standing.RUNNING, f"{RUNNING[2]}: {RUNNING[3]}"),
    "it is suspended": (run_object("c", ACCEPTED, SUSPENDED), Standing.SUSPENDED, f"{SUSPENDED[2]}: {SUSPENDED[3]}"),
    "it succeeded": (run_object("c", ACCEPTED, SUCCEEDED), Standing.SUCCEEDED, f"{SUCCEEDED[2]}: {SUCCEEDED[3]}"),
    "it failed": (run_object("c", ACCEPTED, FAILED), Standing.FAILED, f"{FAILED[2]}: {FAILED[3]}"),
}


@pytest.mark.parametrize("case", STANDINGS.values(), ids=STANDINGS)
def test_where_a_run_stands_comes_from_its_conditions(case: tuple[Object, Standing, str]) -> None:
    found, standing, why = case
    run = RunObject(found)
    assert (run.standing, run.why) == (standing, why)


DECISIONS: dict[str, tuple[Object, Goal, Outcome | None]] = {
    "a run that runs may still succeed": (run_object("c", ACCEPTED, RUNNING), Goal.SUCCEEDED, None),
    "a suspended run may still succeed": (run_object("c", ACCEPTED, SUSPENDED), Goal.SUCCEEDED, None),
    "success ends it": (run_object("c", ACCEPTED, SUCCEEDED), Goal.SUCCEEDED, Outcome.REACHED),
    "failure ends it": (run_object("c", ACCEPTED, FAILED), Goal.SUCCEEDED, Outcome.FAILED),
    "a refusal ends it": (run_object("c", REFUSED), Goal.SUCCEEDED, Outcome.REFUSED),
    "a refusal of an older spec does not": (STALE, Goal.SUCCEEDED, None),
    "a deletion ends it": (DELETING, Goal.SUCCEEDED, Outcome.GONE),
    "accepted is accepted": (run_object("c", ACCEPTED, RUNNING), Goal.ACCEPTED, Outcome.REACHED),
    "a run that failed was accepted": (run_object("c", ACCEPTED, FAILED), Goal.ACCEPTED, Outcome.REACHED),
    "a run that is over is never suspended": (run_object("c", ACCEPTED, SUCCEEDED), Goal.SUSPENDED, Outcome.FAILED),
    "suspended is suspended": (run_object("c", ACCEPTED, SUSPENDED), Goal.SUSPENDED, Outcome.REACHED),
}


@pytest.mark.parametrize("case", DECISIONS.values(), ids=DECISIONS)
def test_waiting_ends_as_soon_as_it_can(case: tuple[Object, Goal, Outcome | None]) -> None:
    found, goal, outcome = case
    assert decided(RunObject(found), goal) is outcome


def looks(*found: Object | Exception | None) -> "list[RunObject | Exception | None]":
    return [RunObject(one) if isinstance(one, dict) else one for one in found]


def waited(script: "list[RunObject | Exception | None]", seconds: float | None = None) -> tuple[Outcome, float, str]:
    clock = FakeClock()

    def look() -> RunObject | None:
        one = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(one, Exception):
            raise one
        return one

    ended = wait_for(look, Goal.SUCCEEDED, seconds, clock, lambda run: None)
    return ended.outcome, clock.seconds, ended.silence


def test_it_waits_through_silences_until_the_run_succeeds() -> None:
    script = looks(run_object("c", ACCEPTED, RUNNING), silence(), silence(), run_object("c", ACCEPTED, SUCCEEDED))
    assert waited(script) == (Outcome.REACHED, 3 * EVERY_SECONDS, "")


def test_the_time_is_kept_and_the_silence_is_told() -> None:
    outcome, seconds, told = waited(looks(silence()), 5.0)
    assert (outcome, seconds) == (Outcome.TIME_OVER, 5.0)
    assert "does not answer" in told


def test_a_run_that_is_gone_is_not_waited_for() -> None:
    assert waited(looks(run_object("c", ACCEPTED, RUNNING), None))[0] is Outcome.GONE


CONDITION = st.tuples(
    st.sampled_from(["Accepted", "Succeeded", "Failed", "Suspended", "Progressing", "StoreAvailable", "NewOne"]),
    st.sampled_from(["True", "False", "Unknown"]),
    st.just("Reason"),
    st.just("words"),
)


@settings(deadline=None)
@given(st.lists(CONDITION, max_size=6, unique_by=lambda c: c[0]), st.sampled_from(list(Goal)))
def test_whatever_the_conditions_are_a_success_is_only_said_where_one_is(conditions: list[tuple[str, str, str, str]], goal: Goal) -> None:
    run = RunObject(run_object("c", *conditions))
    type_ = {"accepted": "Accepted", "suspended": "Suspended", "succeeded": "Succeeded"}[goal.value]
    if decided(run, goal) is Outcome.REACHED:
        assert run.is_true(type_)
    assert isinstance(run.standing, Standing)
