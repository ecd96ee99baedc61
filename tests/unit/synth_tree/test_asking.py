"""Asking many questions at once: bounded, in order, resumed, never without end."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msm.errors import TryAgain, UserError
from msm.llm.ask import AskFailed, Refused, Request, Sampling, TooLong
from msm.synth.asking import EMPTY_BATCHES, Failures, Window, in_order, together, topped_up
from tests.scripted import ScriptedAsker
from tests.unit.synth_tree.trees import grown, written


def finishing(order: Sequence[int], done: list[int]) -> list[Any]:
    """Work whose parts end in a given order."""

    async def part(number: int) -> int:
        await asyncio.sleep(0.0005 * order.index(number))
        done.append(number)
        return number

    return [lambda number=number: part(number) for number in range(len(order))]


@given(st.permutations(range(8)), st.integers(1, 8), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_the_shortest_sufficient_prefix_comes_back_in_order(order: list[int], wanted: int, ahead: int) -> None:
    done: list[int] = []
    found = asyncio.run(in_order(finishing(order, done), lambda _: wanted, ahead))
    assert found == list(range(wanted))
    assert max(done) < wanted, "nothing was begun that was not wanted"


def test_work_ends_where_there_is_no_more_of_it() -> None:
    assert asyncio.run(in_order(finishing([0, 1], []), lambda done: len(done) + 5, 4)) == [0, 1]


def test_an_error_cancels_what_is_under_way_and_is_raised() -> None:
    ended: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")

    async def fail() -> None:
        raise TryAgain("away")

    with pytest.raises(TryAgain):
        asyncio.run(in_order([hang, fail, hang], lambda _: 3, 3))
    with pytest.raises(TryAgain):
        asyncio.run(together([hang(), fail()]))
    assert ended == ["cancelled"] * 3


@given(st.lists(st.lists(st.integers(0, 12), max_size=6) | st.just(None), max_size=12), st.integers(1, 10))
@settings(max_examples=50, deadline=None)
def test_topping_up_ends_has_no_repeats_and_never_exceeds_what_is_wanted(batches: list[list[int] | None], wanted: int) -> None:
    rounds: list[int] = []

    async def ask(_: int, existing: list[int], number: int) -> list[int]:
        rounds.append(number)
        assert len(existing) == len(set(existing))
        batch = batches[number] if number < len(batches) else []
        if batch is None:
            raise Refused("no")
        return batch

    try:
        found = asyncio.run(topped_up(wanted, 5, str, ask))
    except AskFailed:
        found = []
    assert len(found) == len(set(found)) <= wanted
    assert rounds == list(range(len(rounds)))
    assert len(rounds) <= EMPTY_BATCHES * (len(found) + 1)
    everything = {n for batch in batches if batch for n in batch}
    assert len(found) == wanted or len(rounds) >= EMPTY_BATCHES or not everything


def test_a_question_that_has_become_too_long_ends_a_list_with_what_there_is() -> None:
    async def ask(_: int, existing: list[int], number: int) -> list[int]:
        if existing:
            raise TooLong("the list no longer fits")
        return [1, 2]

    assert asyncio.run(topped_up(9, 5, str, ask)) == [1, 2]


@pytest.mark.parametrize("size", [1, 3, 8])
def test_no_more_questions_are_under_way_than_the_window_has(size: int) -> None:
    asker = ScriptedAsker(delay=lambda _: 0.001)
    grown(asker, size=size)
    assert asker.most == size


def test_what_was_asked_is_counted_by_step() -> None:
    window = Window(ScriptedAsker(), 4)
    request = Request("", "say something", Sampling(10), "a step")
    asyncio.run(window.ask(request))
    assert (window.spent["a step"].calls, window.spent["a step"].reused) == (1, 0)
    assert window.spent["a step"].completion > 0


def test_order_of_arrival_and_window_change_nothing() -> None:
    def shuffled(seed: int) -> ScriptedAsker:
        return ScriptedAsker(delay=lambda request: random.Random(f"{seed}{request.prompt}").random() * 0.003)

    trees = [grown(shuffled(seed), size=size) for seed, size in ((0, 1), (1, 5), (2, 64))]
    assert trees[0] == trees[1] == trees[2]
    rows = [written(trees[0], shuffled(seed), size=size, scored=True).rows for seed, size in ((0, 1), (1, 5), (2, 64))]
    assert rows[0] == rows[1] == rows[2]


class Killed(Exception):
    """The process is gone."""


class Dying:
    """A scripted asker behind a process that dies at its nth question; the journal outlives it."""

    def __init__(self, inner: ScriptedAsker, at: int, when: str) -> None:
        self.inner, self.at, self.when, self.dead = inner, at, when, False

    async def ask(self, request: Request) -> Any:
        if self.dead or (self.when == "before" and len(self.inner.asked) >= self.at):
            self.dead = True
            raise Killed
        answer = await self.inner.ask(request)
        if self.when == "after" and len(self.inner.asked) >= self.at:
            self.dead = True
            raise Killed
        return answer


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_question_loses_nothing_that_was_answered(when: str) -> None:
    undisturbed = ScriptedAsker()
    tree = grown(undisturbed, doc_types=1, ideas_per_type=2)
    rows = written(tree, undisturbed, documents=4).rows
    total = len(undisturbed.asked)
    for at in range(1, total):
        asker = ScriptedAsker()
        with pytest.raises(Killed):
            written(grown(Dying(asker, at, when), doc_types=1, ideas_per_type=2, size=1), Dying(asker, at, when), documents=4, size=1)
        again = grown(asker, doc_types=1, ideas_per_type=2)
        assert again == tree
        assert written(again, asker, documents=4).rows == rows
        assert len(asker.asked) == total, f"killed {when} question {at}: something was asked twice"


def test_kills_with_many_under_way_ask_again_only_what_was_in_flight() -> None:
    undisturbed = ScriptedAsker()
    tree = grown(undisturbed)
    total, size = len(undisturbed.asked), 8
    for at in range(1, total, 2):
        asker = ScriptedAsker(delay=lambda request: random.Random(request.prompt).random() * 0.001)
        with pytest.raises(Killed):
            grown(Dying(asker, at, "after"), size=size)
        assert grown(asker, size=size) == tree
        assert len(asker.asked) <= total + size


def test_failures_are_listed_in_the_order_of_the_tree() -> None:
    failures = Failures(5, "here")
    failures.add("ideas", ["b", "x"], Refused("one"))
    failures.add("ideas", ["a", "y"], Refused("two"))
    assert [row["path"] for row in failures.listed()] == [["a", "y"], ["b", "x"]]


def test_a_share_of_many_may_fail_where_that_is_more_than_the_number() -> None:
    failures = Failures(1, "here", share=0.1, asked=100)
    for _ in range(10):
        failures.add("documents", ["a"], Refused("no"))
    with pytest.raises(UserError):
        failures.add("documents", ["a"], Refused("no"))
