"""The decision alone, driven by random fates of attempts: what must never happen, and that runs end."""

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from msm.plan import Plan
from msm.plan.decide import Ending
from msm_operator.backends.children import Child, Phase
from msm_operator.controllers.decide_stages import Decision, RunPhase, candidates, decide
from msm_operator.controllers.observed import Commit, Observed, Policy, short
from msm_operator.runtime.resources import JOBS
from msm_operator.status.history import Ended, History, from_row, to_row
from msm_operator.status.reasons import Reason
from tests.runs import example, plan

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FATES = (Ending.FAULT, Ending.TRY_AGAIN, Ending.PREEMPTED)
PLAN: Plan = plan(example())


@dataclass
class World:
    """A cluster that forgets nothing and a controller that remembers only what a status row holds."""

    draw: random.Random
    policy: Policy
    now: datetime = NOW
    committed: dict[str, Commit] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)
    made: set[tuple[str, int]] = field(default_factory=set)

    def observed(self) -> Observed:
        kept = {stage: from_row(to_row(history)) for stage, history in self.histories.items()}
        lost = frozenset(s for s, h in kept.items() if h.active > h.attempts and s not in self.children)
        return Observed(PLAN, self.policy, dict(self.committed), dict(self.children), kept, lost=lost)

    def act(self, decision: Decision, dies: bool) -> None:
        """Make and delete children; a controller that dies here never writes its status."""
        for view in decision.starts:
            stage, number = short(view.stage), view.history.active
            assert view.stage.fingerprint not in self.committed, "a committed stage is never started"
            assert all(ref.fingerprint in self.committed for ref in view.stage.needs), "nor one whose inputs are not there"
            key = (stage, number)
            if key in self.made and stage in self.children and self.children[stage].number == number:
                continue
            assert stage not in self.children or self.children[stage].phase is Phase.ENDED, "two attempts of a stage at once"
            self.made.add(key)
            self.children[stage] = Child(JOBS, f"{stage}-{number}", f"{key}", stage, number, Phase.RUNNING, self.now)
        for child in decision.stops:
            self.children.pop(child.stage, None)
        if not dies:
            self.histories = {short(v.stage): v.history for v in decision.views if v.history != History()}

    def pass_time(self, trouble: float) -> None:
        """Attempts end by chance; now and then an object is deleted."""
        self.now += timedelta(seconds=self.draw.choice((1, 20, 900)))
        for stage, child in list(self.children.items()):
            if child.phase is Phase.ENDED or self.draw.random() < 0.3:
                continue
            if self.draw.random() < trouble / 4:
                del self.children[stage]
            elif self.draw.random() < trouble:
                end = Ended(self.draw.choice(FATES), Reason.FAULT, "", self.now)
                self.children[stage] = replace(child, phase=Phase.ENDED, ended=end)
            else:
                fingerprint = next(s.fingerprint for s in PLAN.stages if short(s) == stage)
                self.committed[fingerprint] = Commit(self.now, 1.0, reused=False)
                end = Ended(Ending.COMMITTED, Reason.COMMITTED, "", self.now)
                self.children[stage] = replace(child, phase=Phase.ENDED, ended=end)

    def at_work(self) -> int:
        return sum(child.phase is not Phase.ENDED for child in self.children.values())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), parallelism=st.integers(1, 6), trouble=st.sampled_from((0.0, 0.2, 0.6)))
def test_whatever_happens_to_attempts_the_invariants_hold_and_the_run_ends(seed: int, parallelism: int, trouble: float) -> None:
    draw = random.Random(seed)
    world = World(draw, Policy(parallelism, 3, timedelta(days=30), suspend=False))
    for _ in range(800):
        world.policy = replace(world.policy, suspend=draw.random() < 0.05 * trouble)
        decision = decide(world.observed(), world.now)
        assert world.at_work() <= parallelism
        world.act(decision, dies=draw.random() < trouble / 2)
        if decision.phase in (RunPhase.COMPLETE, RunPhase.FAILED):
            break
        world.pass_time(trouble)
    else:
        raise AssertionError("the run has not ended")
    assert decision.phase is RunPhase.COMPLETE or trouble
    for stage in {stage for stage, _ in world.made}:
        numbers = sorted(number for one, number in world.made if one == stage)
        assert numbers == list(range(1, len(numbers) + 1)), "numbers are used once, and all of them"


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_deciding_twice_from_the_same_says_the_same_and_what_was_acted_on_asks_for_nothing_more(seed: int) -> None:
    draw = random.Random(seed)
    world = World(draw, Policy(2, 3, timedelta(days=30), suspend=False))
    for _ in range(draw.randint(1, 20)):
        world.act(decide(world.observed(), world.now), dies=False)
        world.pass_time(0.3)
    first = decide(world.observed(), world.now)
    assert decide(world.observed(), world.now) == first
    world.act(first, dies=False)
    second = decide(world.observed(), world.now)
    if first.wake == world.now:  # an end was counted: the next attempt comes once that is written down
        world.act(second, dies=False)
        second = decide(world.observed(), world.now)
    assert (second.starts, second.stops) == ((), ())


def test_a_suspended_run_has_no_candidates() -> None:
    assert candidates(Observed(PLAN, Policy(4, 3, timedelta(days=1), suspend=True), {}, {}, {})) == ()
