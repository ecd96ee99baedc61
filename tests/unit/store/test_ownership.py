"""Who works on a fingerprint that several want: advice that is the same for all who see the same."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.store.progress import (
    MISSED_BEATS,
    Follow,
    Own,
    Progress,
    Sighting,
    TakeOver,
    TwinMove,
    decide_ownership,
    decide_twins,
    sightings,
    watch,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BEAT = 5.0


def beat(attempt, seconds_ago, ended=False):
    return Progress(attempt=attempt, heartbeat=NOW - timedelta(seconds=seconds_ago), ended=ended)


def seen(attempt, seconds_ago, unchanged, moved):
    return {attempt: Sighting(NOW - timedelta(seconds=seconds_ago), unchanged, moved)}


CASES = {
    "nobody else is there": ([], {}, Own()),
    "a fresh heartbeat is followed": ([beat("A", 4)], {}, Follow("A")),
    "one that missed two beats is still followed": ([beat("A", 14)], {}, Follow("A")),
    "after three missed beats we take over": ([beat("A", 15)], {}, TakeOver("A")),
    "the one that fell silent last is taken over": ([beat("A", 500), beat("B", 100)], {}, TakeOver("B")),
    "an attempt that said it ended is not waited for": ([beat("A", 0, ended=True)], {}, TakeOver("A")),
    "a living one goes before a dead one": ([beat("A", 500), beat("B", 1)], {}, Follow("B")),
    "a heartbeat from the future is believed at first sight": ([beat("A", -3600)], {}, Follow("A")),
    "a heartbeat from the future that stands still is dead": ([beat("A", -3600)], seen("A", -3600, 15, False), TakeOver("A")),
    "a heartbeat whose clock is an hour behind but that moves is alive": ([beat("A", 3600)], seen("A", 3600, 4, True), Follow("A")),
    "one that moved once and then stood still is dead": ([beat("A", 3600)], seen("A", 3600, 15, True), TakeOver("A")),
    "a fresh-looking one that stood still for three of our beats is dead": ([beat("A", 1)], seen("A", 1, 15, False), TakeOver("A")),
    "an old one at first sight is judged by its hour": ([beat("A", 3600)], seen("A", 3600, 0, False), TakeOver("A")),
    "what we saw of an older heartbeat says nothing about a newer one": ([beat("A", 1)], seen("A", 99, 99, False), Follow("A")),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_decide_ownership(case):
    others, sighted, expected = case
    assert decide_ownership(NOW, others, BEAT, sighted) == expected


BEATS = st.lists(
    st.builds(beat, st.sampled_from("ABCDEFG"), st.floats(-100, 100), st.booleans()),
    max_size=6,
    unique_by=lambda progress: progress.attempt,
)


@given(BEATS)
def test_a_newcomer_follows_exactly_when_somebody_lives_and_the_order_of_reading_does_not_matter(beats):
    decision = decide_ownership(NOW, beats, BEAT)
    assert decision == decide_ownership(NOW, beats[::-1], BEAT)
    living = [progress for progress in beats if not progress.ended and (NOW - progress.heartbeat).total_seconds() < MISSED_BEATS * BEAT]
    assert isinstance(decision, Follow) == bool(living)
    assert isinstance(decision, Own) == (not beats)


@given(st.floats(-1e6, 1e6), st.integers(4, 12))
def test_whatever_the_clocks_say_a_dead_attempt_is_followed_for_three_beats_at_most(skew, looks):
    watched = {}
    for look in range(looks):
        watched = watch(watched, [beat("A", skew)], monotonic=look * BEAT)
    assert decide_ownership(NOW, [beat("A", skew)], BEAT, sightings(watched)) == TakeOver("A")


@given(st.floats(-1e6, 1e6), st.lists(st.floats(0.1, 14.9), min_size=1, max_size=8))
def test_whatever_the_clocks_say_an_attempt_seen_to_beat_is_followed(skew, pauses):
    monotonic, watched = 0.0, watch({}, [beat("A", skew)], 0.0)
    for number, pause in enumerate(pauses):
        monotonic += pause
        latest = [beat("A", skew - number - 1)]
        watched = watch(watched, latest, monotonic)
    assert decide_ownership(NOW, latest, BEAT, sightings(watched)) == Follow("A")


def test_an_attempt_that_vanished_is_no_longer_watched():
    assert watch(watch({}, [beat("A", 0)], 0.0), [beat("B", 0)], 1.0).keys() == {"B"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_progress_holds_no_numbers_that_json_lacks(value):
    with pytest.raises(ValueError, match="finite"):
        Progress(attempt="A", heartbeat=NOW, metrics={"loss": value})


class Twin:
    """An attempt as the stage program runs it: a heartbeat, then at most `turns` looks until it works or has stepped back."""

    def __init__(self, name, turns):
        self.name, self.turns, self.state = name, turns, "new"

    def turn(self, beating):
        if self.state == "new":
            self.state = "looking"
            beating.add(self.name)
        elif self.state == "looking":
            self.turns -= 1
            move = decide_twins(self.name, beating - {self.name}, patient=self.turns > 0)
            if move is TwinMove.WORK:
                self.state = "working"
            elif move is TwinMove.STEP_BACK:
                self.state = "gone"
                beating.discard(self.name)


@given(st.lists(st.sampled_from("ABC"), max_size=60), st.integers(1, 4))
def test_whoever_starts_when_never_two_attempts_work(order, patience):
    twins, beating = {name: Twin(name, patience) for name in "ABC"}, set()
    for name in order:
        twins[name].turn(beating)
        assert sum(twin.state == "working" for twin in twins.values()) <= 1


@given(st.permutations("ABC"))
def test_of_attempts_that_take_turns_one_works(order):
    twins, beating = {name: Twin(name, 10) for name in "ABC"}, set()
    for _ in range(12):
        for name in order:
            twins[name].turn(beating)
    assert sorted(twin.state for twin in twins.values()) == ["gone", "gone", "working"]
