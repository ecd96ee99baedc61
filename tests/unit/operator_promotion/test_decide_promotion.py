"""The decisions of the EvalDeployment controller: in sentences, and as invariants over random histories."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from msm_operator.promotion.decide import GRACE, READY_WITHIN, decide
from msm_operator.promotion.observed import SMOKE, CheckKey, CheckState, CheckView, Stable, Unit, eval_check
from msm_operator.promotion.reasons import Reason
from tests.unit.operator_promotion.world import EVAL, World


def serving(version: str = "1", **changes: object) -> World:
    """A world in which a version is served and measured."""
    world = World(alias=version, good=frozenset({version}), **changes)  # type: ignore[arg-type]
    world.run(10)
    assert world.stable is not None and world.stable.unit == Unit(version, "a")
    return world


def test_a_first_version_is_brought_up_checked_measured_and_only_then_served() -> None:
    world, said = World(alias="1", good=frozenset({"1"})), []
    for _ in range(6):
        assert world.stable is None
        said.append(world.step().reason)
        if world.stable is not None:
            break
        world.settle()
    assert said == [Reason.STARTING, Reason.CHECKING, Reason.EVALUATING, Reason.SWITCHING]
    assert world.step().reason is Reason.UP_TO_DATE


def test_a_better_version_takes_over_and_the_old_one_goes_after_its_grace() -> None:
    world = serving("1")
    world.alias, world.good = "2", frozenset({"2"})
    while world.stable is not None and world.stable.unit.version == "1":
        world.step()
        world.settle()
    assert world.stable == Stable(Unit("2", "a"), world.stable.since, Unit("1", "a"))  # type: ignore[union-attr]
    assert set(world.units) == {Unit("1", "a"), Unit("2", "a")}
    assert world.step().again == world.stable.since + GRACE  # type: ignore[union-attr]
    world.now += GRACE
    world.step()
    assert set(world.units) == {Unit("2", "a")}


def test_a_worse_version_is_refused_with_its_numbers_and_the_old_one_stays() -> None:
    world = serving("1")
    world.alias = "2"
    world.run(10)
    assert world.stable is not None and world.stable.unit.version == "1"
    assert world.refused["2"].reason == "GateFailed"
    assert "0.1, needed at least 1" in world.refused["2"].message
    assert set(world.units) == {Unit("1", "a")}
    assert world.step().reason is Reason.REFUSED


def test_the_refusal_is_written_before_the_unit_goes() -> None:
    world = serving("1")
    world.alias = "2"
    for _ in range(20):
        decision = world.step()
        if decision.refuse is not None:
            break
        world.settle()
    assert Unit("2", "a") in world.units and decision.again == world.now
    world.step()
    assert Unit("2", "a") not in world.units


def test_a_version_that_never_gets_ready_is_refused_in_time() -> None:
    world = serving("1", broken=frozenset({"2"}))
    world.alias, world.good = "2", frozenset({"2"})
    world.run(int(READY_WITHIN.total_seconds() // 60) + 3)
    assert world.refused["2"].reason == "NotReady"
    assert "it is being made" in world.refused["2"].message


def test_a_version_that_does_not_answer_is_refused_before_it_is_measured() -> None:
    world = serving("1", mute=frozenset({"2"}))
    world.alias, world.good = "2", frozenset({"2"})
    world.run(10)
    assert world.refused["2"].reason == "SmokeFailed"
    assert CheckKey(Unit("2", "a"), eval_check(EVAL)) not in world.checks


def test_an_alias_that_moves_back_during_the_evaluation_drops_the_candidate() -> None:
    world = serving("1")
    world.alias, world.good = "2", frozenset({"2"})
    world.step(), world.settle()
    assert Unit("2", "a") in world.units
    world.alias = "1"
    assert world.step().reason is Reason.UP_TO_DATE
    assert set(world.units) == {Unit("1", "a")}
    assert world.refused == {}


def test_mlflow_down_changes_nothing_and_a_switch_waits_for_its_word() -> None:
    world = serving("1")
    world.alias, world.good = "2", frozenset({"2"})
    world.step(), world.settle()
    world.mlflow = False
    world.run(10)
    assert world.stable is not None and world.stable.unit.version == "1"
    assert world.step().reason is Reason.WAITING
    assert "MLflow must confirm" in world.step().message
    world.mlflow = True
    assert world.step().switch == Unit("2", "a")


def test_a_missing_alias_keeps_what_is_served() -> None:
    world = serving("1")
    world.alias = None
    world.run(20)
    assert world.stable is not None and world.stable.unit.version == "1"
    assert set(world.units) == {Unit("1", "a")}
    assert world.step().reason is Reason.NO_ALIAS


def test_going_back_to_the_version_before_is_not_compared_with_the_one_that_is_left() -> None:
    world = serving("1")
    world.alias, world.good = "2", frozenset({"2"})
    world.run(10)
    world.alias = "1"
    seen = world.observe()
    assert seen.challenger == Unit("1", "a")
    assert seen.compared is None


def test_other_pods_for_the_same_version_are_brought_up_beside_those_that_serve() -> None:
    world = serving("1")
    world.variant, world.generation = "b", 2
    world.step()
    assert set(world.units) == {Unit("1", "a"), Unit("1", "b")}
    world.settle()
    assert world.step().start == CheckKey(Unit("1", "b"), SMOKE)
    world.run(10)
    assert world.stable is not None and world.stable.unit == Unit("1", "b")


def test_a_changed_spec_judges_a_refused_version_by_the_scores_it_has_and_serves_nothing_for_it() -> None:
    world = serving("1")
    world.alias = "2"
    world.run(10)
    made = list(world.tried)
    world.generation = 2
    decision = world.step()
    assert decision.refuse is not None and decision.refuse.generation == 2
    assert world.tried == made


def test_a_served_unit_that_somebody_deleted_is_made_again() -> None:
    world = serving("1")
    world.units.clear()
    assert world.step().ensure == (Unit("1", "a"),)


def test_without_kserve_nothing_is_made_and_nothing_is_refused() -> None:
    world = World(alias="1", good=frozenset({"1"}))
    decision = decide(replace(world.observe(), serving=False), world.now)
    assert (decision.ensure, decision.refuse, decision.reason) == ((), None, Reason.WAITING)


def test_a_check_that_waits_says_when_it_is_tried_again() -> None:
    world = World(alias="1")
    world.step(), world.settle()
    later = world.now + timedelta(minutes=2)
    world.checks[CheckKey(Unit("1", "a"), SMOKE)] = CheckView(CheckState.WAITING, "the store is away", later)
    decision = world.step()
    assert (decision.reason, decision.again) == (Reason.WAITING, later)


VERSIONS = st.sampled_from(["1", "2", "3", "4"])
HAPPENINGS = st.one_of(
    st.tuples(st.just("alias"), st.one_of(st.none(), VERSIONS)),
    st.tuples(st.just("mlflow"), st.booleans()),
    st.tuples(st.just("spec"), st.sampled_from(["a", "b"])),
    st.tuples(st.just("good"), st.frozensets(VERSIONS)),
    st.tuples(st.just("lost"), VERSIONS),
    st.tuples(st.just("settle"), st.integers(1, 8)),
    st.tuples(st.just("pass"), st.integers(1, 3)),
)


def happen(world: World, what: str, value: object) -> None:
    match what:
        case "alias":
            world.alias = value  # type: ignore[assignment]
        case "mlflow":
            world.mlflow = bool(value)
        case "spec":
            world.variant, world.generation = str(value), world.generation + 1
        case "good":
            world.good = value  # type: ignore[assignment]
        case "lost":
            for unit, view in world.units.items():
                if unit.version == value:
                    world.units[unit] = replace(view, ready=False, why="its node is gone")
        case "settle":
            for _ in range(int(value)):  # type: ignore[call-overload]
                world.settle()


@settings(max_examples=120, deadline=None)
@given(st.lists(HAPPENINGS, max_size=40), st.frozensets(VERSIONS), st.frozensets(VERSIONS))
def test_whatever_happens_the_invariants_hold(history: list, broken: frozenset, mute: frozenset) -> None:
    world = World(broken=broken, mute=mute)
    refused: set[tuple[str, int]] = set()
    for what, value in history:
        happen(world, what, value)
        for _ in range(value if what == "pass" else 1):
            seen, before = world.observe(), world.stable
            decision = decide(seen, world.now)
            check(world, seen, decision, refused)
            world.carry_out(seen, decision)
            if before is not None:
                assert world.stable is not None, "an address that served serves for ever"
                assert before.unit in world.units or world.stable.unit != before.unit or before.unit in decision.ensure
            if decision.refuse is not None:
                refused.add((decision.refuse.version, decision.refuse.generation))
            extra = set(world.units) - {world.stable.unit if world.stable else None}
            previous = world.stable.previous if world.stable else None
            assert len(extra - {previous}) <= 1, "one candidate at a time"


def check(world: World, seen, decision, refused: set) -> None:
    assert seen.served not in decision.remove, "what serves is never removed"
    if decision.switch is not None:
        unit = decision.switch
        assert seen.units[unit].ready, "the address only moves to pods that are ready"
        assert seen.alias is not None and seen.alias.version == unit.version, "and only while MLflow names them"
        assert unit.version in world.good
        assert seen.checks[CheckKey(unit, SMOKE)].state is CheckState.COMMITTED
    for unit in decision.ensure:
        if unit != seen.served:
            assert (unit.version, seen.generation) not in refused, "a refused version is not tried again by the same spec"
    if decision.start is not None:
        assert seen.units[decision.start.unit].ready


@given(VERSIONS, VERSIONS)
def test_left_alone_every_alias_is_served_or_refused_at_last(first: str, second: str) -> None:
    world = World(alias=first, good=frozenset({first}))
    world.run(15)
    world.alias = second
    world.run(15)
    assert world.stable is not None
    assert world.stable.unit.version == second or second in world.refused
    assert len(world.units) <= 2
