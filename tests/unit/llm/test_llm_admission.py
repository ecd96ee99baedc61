"""The window of attempts in flight: its bounds, where it settles, and who is let in when."""

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from msm.clock import SystemClock
from msm.llm.admission import CUT, HARD_CUT, START, Gate, Window, grow, open_window, shrink

LIMITS = st.integers(1, 500)
EVENTS = st.lists(st.one_of(st.tuples(st.just("answer"), st.floats(0, 1)), st.tuples(st.just("refused"), st.floats(0, 50))), max_size=200)


class QuickPace:
    """Waiting takes no time; what was waited for is remembered, and moves the clock."""

    def __init__(self):
        self.clock, self.seconds, self.slept = self, 0.0, []

    def monotonic(self):
        return self.seconds

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


@given(LIMITS, EVENTS)
def test_the_window_never_leaves_1_to_its_limit(limit, events):
    window = open_window(limit)
    for now, (what, value) in enumerate(events):
        window = grow(window, round(value * limit)) if what == "answer" else shrink(window, now - value, now)
        assert 1 <= window.slots <= limit
        assert 1 <= window.size <= limit


def one_round(window, capacity, now, draw):
    """Everything the window allows is sent at once; the server answers `capacity` of it and refuses the rest."""
    sent = window.slots
    events = ["answer"] * min(sent, capacity) + ["refused"] * max(0, sent - capacity)
    draw.shuffle(events)
    for event in events:
        window = grow(window, sent) if event == "answer" else shrink(window, now, now + 0.5)
    return window, min(sent, capacity)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 150), st.integers(0, 400), st.integers())
def test_it_settles_between_the_cut_and_the_capacity_of_a_server(capacity, spare, seed):
    draw, window = random.Random(seed), open_window(capacity + spare)
    sizes, done = [], 0
    for now in range(250):
        window, answered = one_round(window, capacity, now, draw)
        if now >= 100:
            sizes.append(window.slots)
            done += answered
    assert max(sizes) <= capacity + 2
    assert min(sizes) >= max(1, int(CUT * capacity) - 1)
    assert done >= 0.75 * capacity * 150


def test_it_doubles_each_round_until_the_first_refusal_and_then_adds_one_a_round():
    window = open_window(10_000)
    for expected in (START, 2 * START, 4 * START):
        assert window.slots == expected
        for _ in range(window.slots):
            window = grow(window, window.slots)
    cut = shrink(window, 0.0, 1.0)
    assert cut.slots == int(HARD_CUT * window.slots)
    after = cut
    for _ in range(cut.slots):
        after = grow(after, cut.slots)
    assert cut.slots <= after.slots <= cut.slots + 1


def test_what_was_sent_before_a_cut_does_not_cut_again():
    window = shrink(Window(limit=100, size=100.0, threshold=50.0), sent_at=5.0, now=6.0)
    for _ in range(50):
        window = shrink(window, sent_at=5.5, now=7.0)
    assert window.slots == 70
    assert shrink(window, sent_at=6.5, now=7.0).slots == 35


def test_a_cut_that_was_not_enough_is_followed_by_a_harder_one():
    settled = Window(limit=100, size=60.0, threshold=42.0)
    first = shrink(settled, 1.0, 1.0)
    assert (first.slots, shrink(first, 2.0, 2.0).slots) == (42, 21)


def test_a_window_that_is_not_used_does_not_grow():
    window = open_window(1000)
    for _ in range(500):
        window = grow(window, in_flight=5)
    assert window.slots == START


def visits(limit, tasks, body):
    """Run `tasks` visits through a gate; `body` gets the gate."""

    async def run():
        gate = Gate(limit, QuickPace(), random.Random(0))
        return gate, await asyncio.gather(*(body(gate, number) for number in range(tasks)), return_exceptions=True)

    return asyncio.run(run())


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 120), st.integers())
def test_never_more_inside_than_the_window_and_nobody_is_forgotten(limit, tasks, seed):
    draw, inside, most = random.Random(seed), [0], [0]

    async def body(gate, number):
        sent = await gate.enter(again=draw.random() < 0.3)
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        await asyncio.sleep(0)
        if draw.random() < 0.3:
            gate.overloaded(sent)
        else:
            gate.kept_up()
        inside[0] -= 1
        gate.leave()
        return number

    gate, results = visits(limit, tasks, body)
    assert sorted(results) == list(range(tasks))
    assert most[0] <= limit
    assert gate.in_flight == 0


def test_who_is_cancelled_while_waiting_takes_no_slot_with_him():
    async def run():
        gate = Gate(1, QuickPace(), random.Random(0))
        await gate.enter()
        waiting = [asyncio.create_task(gate.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        gate.leave()  # grants the slot to the second, who is cancelled before it runs
        waiting[1].cancel()
        await asyncio.wait_for(waiting[2], 1)
        return gate.in_flight, [task.cancelled() for task in waiting]

    assert asyncio.run(run()) == (1, [True, True, False])


def test_who_tries_again_goes_before_who_comes_new():
    async def run():
        gate, order = Gate(1, QuickPace(), random.Random(0)), []

        async def visit(name, again):
            await gate.enter(again)
            order.append(name)
            gate.leave()

        await gate.enter()
        tasks = [asyncio.create_task(visit(name, again)) for name, again in (("new", False), ("newer", False), ("retry", True))]
        await asyncio.sleep(0)
        gate.leave()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run()) == ["retry", "new", "newer"]


def test_a_pause_holds_everybody_for_as_long_as_was_asked_and_a_little_spread():
    async def body(gate, number):
        if number == 0:
            gate.pause(8.0)
        began = await gate.enter()
        gate.leave()
        return began

    _, starts = visits(50, 50, body)
    assert min(starts) >= 8.0


def test_the_machines_pace_waits():
    from msm.llm.pace import LoopPace

    async def run():
        pace = LoopPace()
        before = pace.clock.monotonic()
        await pace.sleep(0.01)
        return pace.clock.monotonic() - before

    assert asyncio.run(run()) >= 0.009
    assert isinstance(LoopPace().clock, SystemClock)
