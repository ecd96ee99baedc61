"""What to do about one EvalDeployment: a pure function of what was observed and the clock.

Neighbours: `observed` has the input, `act` carries the decision out. Invariants, each with a property test: the unit behind the stable
address is never removed; the address only moves to a unit that is ready now and has passed everything, and only while MLflow confirms the
alias; at most one unit is tried at a time; a version that was refused is not tried again by the same spec; when the alias moves away the
unit that was tried goes. Each decision may be lost, repeated or late. Cost: none.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from msm_operator.promotion.observed import SMOKE, CheckKey, CheckState, CheckView, Observed, Refusal, Unit, eval_check
from msm_operator.promotion.reasons import Reason

READY_WITHIN = timedelta(minutes=30)
"""How long a candidate's pods may take: images and weights are large."""
GRACE = timedelta(minutes=5)
"""How long the unit that was served before is kept: answers under way end, and a rollback within it finds it warm."""
ABSENT = CheckView(CheckState.ABSENT)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to apply, start, switch and remove now; `reason` and `message` are the Promoting condition's. `again`: when something is due.

    `candidate` is the version that is being tried, as the status shows it.
    """

    reason: Reason
    message: str = ""
    candidate: Unit | None = None
    ensure: tuple[Unit, ...] = ()
    remove: tuple[Unit, ...] = ()
    start: CheckKey | None = None
    switch: Unit | None = None
    refuse: Refusal | None = None
    again: datetime | None = None


def decide(seen: Observed, now: datetime) -> Decision:
    """One step. A unit that is refused goes with the next one, when the refusal is written: else a crash between would try it again."""
    decision = _promote(seen, now)
    if decision.refuse is not None:
        decision = replace(decision, again=now)
    keep = {seen.served, decision.candidate, _previous(seen, now), seen.challenger}
    remove = tuple(sorted(unit for unit, view in seen.units.items() if unit not in keep and not view.leaving))
    return replace(
        decision, ensure=(*_served(seen), *decision.ensure), remove=remove, again=_earliest(decision.again, _grace_end(seen, now))
    )


def _served(seen: Observed) -> tuple[Unit, ...]:
    """The served unit, where somebody deleted it or the spec wants more pods of it."""
    served = seen.served
    if served is None or not seen.serving:
        return ()
    view = seen.units.get(served)
    return (served,) if view is None or view.stale else ()


def _previous(seen: Observed, now: datetime) -> Unit | None:
    """The unit that was served before, within its grace."""
    return seen.stable.previous if seen.stable is not None and now < seen.stable.since + GRACE else None


def _grace_end(seen: Observed, now: datetime) -> datetime | None:
    previous = _previous(seen, now)
    return seen.stable.since + GRACE if seen.stable is not None and previous in seen.units else None


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _promote(seen: Observed, now: datetime) -> Decision:
    """What to do about the challenger, if there is one."""
    challenger = seen.challenger
    if challenger is None:
        return _at_rest(seen)
    if seen.unservable:
        return _refused(seen, challenger, Reason.NOT_SERVABLE, seen.unservable)
    if seen.judged is not None and not seen.judged.passed:
        return _refused(seen, challenger, Reason.GATE_FAILED, seen.judged.message)
    if not seen.serving:
        return Decision(Reason.WAITING, "the cluster has no InferenceService", challenger)
    return _bring_up(seen, challenger, now) or _measure(seen, challenger) or _switch(seen, challenger)


def _at_rest(seen: Observed) -> Decision:
    wanted = seen.wanted
    if wanted is not None and wanted == seen.served:
        return Decision(Reason.UP_TO_DATE, f"version {wanted.version} is served")
    if wanted is not None:
        refusal = seen.refused[wanted.version]
        return Decision(Reason.REFUSED, f"version {wanted.version}: {refusal.reason}: {refusal.message}")
    if seen.alias is None:
        return Decision(Reason.UNKNOWN, "MLflow has not said yet what the alias names")
    return Decision(Reason.NO_ALIAS, "the model has no such alias; `msm promote` sets it")


def _refused(seen: Observed, unit: Unit, reason: Reason, message: str) -> Decision:
    refusal = Refusal(unit.version, reason.value, message, seen.generation)
    return Decision(Reason.REFUSED, f"version {unit.version}: {reason.value}: {message}", refuse=refusal)


def _bring_up(seen: Observed, unit: Unit, now: datetime) -> Decision | None:
    """Until its pods are ready; None then."""
    view = seen.units.get(unit)
    if view is None or view.leaving:
        if _strays(seen, unit, now) or view is not None:
            return Decision(Reason.WAITING, "the pods of the last candidate are going", unit)
        return Decision(Reason.STARTING, f"version {unit.version} is being brought up", unit, ensure=(unit,))
    if view.ready:
        return None
    if now - view.made > READY_WITHIN:
        return _refused(seen, unit, Reason.NOT_READY, f"its pods were not ready within {_minutes(READY_WITHIN)} minutes: {view.why}")
    message = f"version {unit.version}: {view.why}"
    return Decision(Reason.STARTING, message, unit, ensure=(unit,) if view.stale else (), again=view.made + READY_WITHIN)


def _minutes(span: timedelta) -> int:
    return int(span.total_seconds() // 60)


def _strays(seen: Observed, unit: Unit, now: datetime) -> set[Unit]:
    """Units that stand for nothing any more."""
    return set(seen.units) - {unit, seen.served, _previous(seen, now)}


def _measure(seen: Observed, unit: Unit) -> Decision | None:
    """The first measurement that is missing; None when all are there. One at a time: they share the unit's pods."""
    for key in _needed(seen, unit):
        view = seen.checks.get(key, ABSENT)
        what = f"{'smoke test' if key.name == SMOKE else key.name.removeprefix('eval.')} of version {key.unit.version}"
        at_work = Reason.CHECKING if key.name == SMOKE else Reason.EVALUATING
        match view.state:
            case CheckState.COMMITTED:
                continue
            case CheckState.ABSENT if key.unit in seen.units and seen.units[key.unit].ready:
                return Decision(at_work, what, unit, start=key)
            case CheckState.ABSENT:
                return Decision(Reason.WAITING, f"{what}: its pods are not ready", unit)
            case CheckState.RUNNING:
                return Decision(at_work, f"{what} {view.message}".strip(), unit)
            case CheckState.WAITING:
                return Decision(Reason.WAITING, f"{what} is tried again: {view.message}", unit, again=view.retry)
            case CheckState.FAILED:
                reason = Reason.SMOKE_FAILED if key.name == SMOKE else Reason.EVALUATION_FAILED
                return _refused(seen, unit, reason, f"{what}: {view.message}")
    return None


def _needed(seen: Observed, unit: Unit) -> Iterator[CheckKey]:
    """In the order in which they are made: the cheap one first, the other version's last."""
    yield CheckKey(unit, SMOKE)
    for name in seen.evals:
        yield CheckKey(unit, eval_check(name))
    compared = seen.compared
    if compared is not None:
        for name in seen.evals:
            yield CheckKey(compared, eval_check(name))


def _switch(seen: Observed, unit: Unit) -> Decision:
    """Everything is measured: move the address, if the gates held and MLflow still names this version."""
    if seen.alias is None:
        return Decision(Reason.WAITING, f"version {unit.version} has passed; MLflow must confirm the alias before the switch", unit)
    if seen.judged is None:
        return Decision(Reason.WAITING, f"version {unit.version} is measured; its scores are being read", unit)
    return Decision(Reason.SWITCHING, f"version {unit.version} has passed", unit, switch=unit)
