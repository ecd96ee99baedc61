"""The workqueue: nothing added is lost, nothing is worked on twice at once, failures wait."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from msm_operator.runtime.metrics import Metrics, samples
from msm_operator.runtime.queue import Backoff, Bucket, ShutDown, Workqueue
from msm_operator.runtime.seams import Key
from tests.unit.operator_runtime.virtual_time import virtually

KEYS = [Key("team", name) for name in "abcd"]
A, B, C, _ = KEYS


class Moment:
    """A time that tests move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def queue(now: Moment | None = None, **backoff: float) -> Workqueue:
    return Workqueue("test", Metrics(), backoff=Backoff(**backoff), rng=random.Random(0), now=now or Moment())  # type: ignore[arg-type]


def test_keys_come_in_the_order_in_which_they_were_added_and_each_once() -> None:
    work = queue()
    for key in (A, B, A, C, B):
        work.add(key)
    assert [work.take() for _ in range(4)] == [A, B, C, None]


def test_a_key_added_while_it_is_worked_on_comes_once_more_afterwards() -> None:
    work = queue()
    work.add(A)
    assert work.take() == A
    for _ in range(3):
        work.add(A)
    assert work.take() is None, "no second worker gets it"
    work.done(A)
    assert (work.take(), work.take()) == (A, None)


def test_a_delayed_key_comes_when_it_is_due_and_the_earliest_wish_stands() -> None:
    now = Moment()
    work = queue(now)
    work.add_after(A, 10)
    work.add_after(A, 5)
    work.add_after(A, 20)
    work.add_after(B, 0)
    assert (work.take(), work.take()) == (B, None)
    now.now = 5.0
    assert work.take() == A
    work.done(A)
    now.now = 100.0
    assert work.take() is None, "the later wishes were one with the earliest"


def test_failures_of_a_key_wait_ever_longer_until_it_succeeds() -> None:
    work = queue(first=1.0, most=60.0, per_second=1000.0)
    pauses = [work.add_failed(A) for _ in range(10)]
    assert all(1.0 * 2**n <= pause <= 1.2 * 2**n for n, pause in enumerate(pauses[:6]))
    assert max(pauses) <= 72.0 and work.failures(A) == 10
    work.forget(A)
    assert work.add_failed(A) <= 1.2
    assert work.add_failed(B, at_least=30.0) == 30.0, "what the server asked for is waited"


def test_failures_of_all_keys_together_have_a_rate() -> None:
    work = queue(first=0.001, per_second=10.0, burst=5)
    pauses = [work.add_failed(Key("team", str(number))) for number in range(25)]
    assert max(pauses[:5]) < 0.01 and pauses[-1] == pytest.approx(2.0)


@given(st.integers(1, 10_000))
def test_a_bucket_with_no_debts_gives_at_once_and_never_more_than_its_rate(steps: int) -> None:
    bucket = Bucket(per_second=5.0, burst=3, now=0.0)
    given_out = sum(bucket.takes(number / 100.0) for number in range(steps % 500))
    assert given_out <= 3 + 5.0 * (steps % 500) / 100.0 + 1e-6


def test_waiting_workers_get_what_is_added_and_what_becomes_due() -> None:
    async def main() -> list[tuple[float, Key]]:
        loop = asyncio.get_running_loop()
        work = Workqueue("test", Metrics())
        got: list[tuple[float, Key]] = []

        async def worker() -> None:
            while True:
                key = await work.get()
                got.append((loop.time(), key))
                await asyncio.sleep(1.0)
                work.done(key)

        workers = [asyncio.create_task(worker()) for _ in range(2)]
        work.add_after(A, 3600.0)
        await asyncio.sleep(10.0)
        for key in (A, B, C):
            work.add(key)
        await asyncio.sleep(4000.0)
        work.shut_down()
        outcomes = await asyncio.gather(*workers, return_exceptions=True)
        assert all(isinstance(outcome, ShutDown) for outcome in outcomes)
        return got

    assert virtually(main()) == [(10.0, A), (10.0, B), (11.0, C), (3600.0, A)]


def test_one_key_that_fails_for_ever_delays_no_other() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        work, worst = Workqueue("test", Metrics(), rng=random.Random(0)), 0.0
        work.add(A)

        async def worker() -> None:
            nonlocal worst
            while True:
                key = await work.get()
                if key == A:
                    work.add_failed(A)
                else:
                    worst = max(worst, loop.time() - float(key.name))
                    work.forget(key)
                work.done(key)

        working = asyncio.create_task(worker())
        for _ in range(200):
            work.add(Key("team", str(loop.time())))
            await asyncio.sleep(1.0)
        working.cancel()
        return worst

    assert virtually(main()) == 0.0


def test_its_metrics_have_client_gos_names() -> None:
    metrics, now = Metrics(), Moment()
    work = Workqueue("msmrun", metrics, now=now)
    work.add(A)
    work.add(B)
    now.now = 2.0
    work.take()
    now.now = 5.0
    shown = samples(metrics.text())
    assert shown['workqueue_adds_total{name="msmrun"}'] == 2
    assert shown['workqueue_depth{name="msmrun"}'] == 1
    assert shown['workqueue_longest_running_processor_seconds{name="msmrun"}'] == 3.0
    assert shown['workqueue_unfinished_work_seconds{name="msmrun"}'] == 3.0
    assert shown['workqueue_queue_duration_seconds_sum{name="msmrun"}'] == 2.0


class QueueMachine(RuleBasedStateMachine):
    """Any interleaving of adds, delays, failures, workers and time, against what was promised."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Moment()
        self.queue = queue(self.now, first=1.0, most=8.0, per_second=2.0, burst=3)
        self.working: set[Key] = set()
        self.owed: set[Key] = set()
        """Keys that were added and not handed out since."""
        self.due: dict[Key, float] = {}

    @rule(key=st.sampled_from(KEYS))
    def add(self, key: Key) -> None:
        self.queue.add(key)
        self.owed.add(key)

    @rule(key=st.sampled_from(KEYS), delay=st.floats(0.5, 20.0))
    def add_after(self, key: Key, delay: float) -> None:
        self.queue.add_after(key, delay)
        self.due[key] = min(self.due.get(key, float("inf")), self.now.now + delay)

    @rule(key=st.sampled_from(KEYS))
    def fail(self, key: Key) -> None:
        pause = self.queue.add_failed(key)
        self.due[key] = min(self.due.get(key, float("inf")), self.now.now + pause)

    @rule(seconds=st.floats(0.1, 10.0))
    def wait(self, seconds: float) -> None:
        self.now.now += seconds

    @rule()
    def take(self) -> None:
        self._ripen()
        key = self.queue.take()
        if key is None:
            assert self.owed <= self.working, "what waits and is nobody's is handed out"
            return
        assert key in self.owed and key not in self.working
        self.owed.discard(key)
        self.working.add(key)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.working.discard(key)
        self.queue.done(key)

    @invariant()
    def counts(self) -> None:
        assert self.queue.working == len(self.working)
        assert len(self.queue) <= len(KEYS)

    def teardown(self) -> None:
        """After all work is done and all time has passed, everything owed was handed out."""
        for key in sorted(self.working):
            self.queue.done(key)
        self.now.now += 1e9
        self.owed |= set(self.due)
        handed: set[Key] = set()
        while (key := self.queue.take()) is not None:
            handed.add(key)
            self.queue.done(key)
        assert handed == self.owed

    def _ripen(self) -> None:
        for key, when in list(self.due.items()):
            if when <= self.now.now:
                del self.due[key]
                self.owed.add(key)


QueueMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAnyInterleaving = QueueMachine.TestCase
