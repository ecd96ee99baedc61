"""Crashes injected into a warm `msm run`: at every single operation in turn, then at random, several in a run.

Each ends with calls that nobody disturbs and with a verdict on what lies in the store. A world is thrown away after its verdict.
"""

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.faulty import Fault
from tests.chaos.verdict import Digests, Verdict, digests, judge
from tests.chaos.warm import Call, World, pass_time

CALLS_AT_MOST = 60
RECOVERIES = 3
"""Undisturbed calls within which a run must succeed; one, unless a try-again made the first wait in vain."""
EVERYWHERE = (Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.CUT_TORN)
STAGE_ONLY = (Fault.DIES_BEFORE, Fault.DIES_AFTER)
Say = Callable[[str], None]


@dataclass(slots=True)
class Injector:
    """Makes worlds of one run file, disturbs them, and adds up the verdicts."""

    run_file: Path
    root: Path
    say: Say
    real_training: bool = False
    reference: Digests | None = None
    verdict: Verdict = None  # type: ignore[assignment]
    made: int = 0

    def __post_init__(self) -> None:
        self.verdict = Verdict()

    def prepare(self) -> int:
        """The undisturbed run that all others are compared with; how many operations it does."""
        with_it = self._world()
        call = with_it.call()
        if not call.succeeded:
            raise RuntimeError(f"the undisturbed run failed: {_how(call)}")
        self.reference = self.reference or digests(with_it.accepted())
        self._close(with_it, "the undisturbed run")
        return call.machine.operations

    def every_operation(self, kinds: Sequence[Fault], start: int = 1, step: int = 1) -> int:
        """A crash at the n-th operation for n = start, start + step, … until a run passes undisturbed; the number of crashes."""
        crashes, number = 0, start
        while self._crash_at(number, kinds[number % len(kinds)]):
            crashes, number = crashes + 1, number + step
        return crashes

    def _crash_at(self, number: int, fault: Fault) -> bool:
        world = self._world()
        call = world.call({number: fault})
        passed = not world.ledger.happened
        if not call.succeeded:
            self._recover(world, f"{fault.value} at operation {number}")
        self._close(world, f"{fault.value} at operation {number}")
        return not passed

    def at_random(self, draw: random.Random, kinds: Sequence[Fault], spacing: int, calls: int = CALLS_AT_MOST) -> None:
        """One world, disturbed call after call at random operations until it succeeds nevertheless."""
        world, name = self._world(), f"random run {self.made}"
        for _ in range(calls):
            call = world.call(dict(_schedule(draw, kinds, spacing)))
            if call.succeeded:
                break
            pass_time(world.clock, draw)
        else:
            self._recover(world, name)
        self._close(world, name)

    def _recover(self, world: World, name: str) -> None:
        for _ in range(RECOVERIES):
            call = world.call()
            if call.succeeded:
                return
        self.verdict.lost += 1
        self.say(f"{name}: does not recover: {_how(call)}")

    def _close(self, world: World, name: str) -> None:
        assert self.reference is not None
        verdict, wrong = judge(world.accepted(), self.reference, world.ledger.commits)
        verdict.injected = sum(times for fault, times in world.ledger.happened.items() if fault.is_crash)
        self.verdict.add(verdict)
        for line in wrong:
            self.say(f"{name}: {line}")
        if not wrong:
            shutil.rmtree(world.home)

    def _world(self) -> World:
        self.made += 1
        return World(self.run_file, self.root / f"world-{self.made}", self.real_training)


def _schedule(draw: random.Random, kinds: Sequence[Fault], spacing: int) -> Iterator[tuple[int, Fault]]:
    """Up to three operations of one call, about `spacing` apart, and what happens at them."""
    at = 0
    for _ in range(draw.randint(1, 3)):
        at += draw.randint(1, 2 * spacing)
        yield at, draw.choice(kinds)


def _how(call: Call) -> str:
    if call.error is not None:
        return str(call.error)
    return f"{call.status.phase}: {call.status.message}" if call.status is not None else "crashed"
