"""What to do with the stages of a run now: count ends, start, stop, wait, give up.

Pure: (observed, now) -> decision. Neighbours: `msm.plan.decide` says what is needed, ready and next, as for the local executor; the
controller acts. Invariants: a stage whose artifact is committed is never started; an attempt's end is counted once, by its number, and
written down before the next attempt is started, since the next one's object hides it; at most `parallelism` attempts are under way. Cost:
linear in stages.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from msm.local.status import State
from msm.plan import Stage, kinds
from msm.plan.decide import Ending, Fail, WaitUntil, blocked, needed, next_attempt, ready
from msm_operator.backends.children import Child, Phase
from msm_operator.controllers.advice import advised
from msm_operator.controllers.observed import Observed, served_endpoints, short, under_way
from msm_operator.status.history import Ended, History
from msm_operator.status.model import FINGERPRINT
from msm_operator.status.reasons import Reason

LINGER = timedelta(seconds=60)
"""How long a pod may outlive the commit of its stage."""


class RunPhase(StrEnum):
    """Where a run stands after a pass."""

    RUNNING = "Running"
    SUSPENDING = "Suspending"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class View:
    """One stage after the pass."""

    stage: Stage
    state: State
    history: History
    reason: Reason | None = None
    message: str = ""
    next_retry: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and how things stand once it is done."""

    phase: RunPhase
    views: tuple[View, ...]
    starts: tuple[View, ...]
    stops: tuple[Child, ...]
    endpoints: frozenset[str]

    @property
    def wake(self) -> datetime | None:
        """The next hour at which something is due by itself."""
        return min((view.next_retry for view in self.views if view.next_retry is not None), default=None)


def candidates(observed: Observed) -> tuple[Stage, ...]:
    """Stages that may start in this pass, as far as the plan says: others' attempts at these are looked for, and their manifests."""
    if observed.policy.suspend:
        return ()
    busy = {s.fingerprint for s in observed.plan.stages if _is_under_way(observed, s)}
    room = observed.policy.parallelism - len(busy)
    if room <= 0:
        return ()
    found = ready(observed.plan, observed.committed.keys(), busy)
    return found[: room + len(observed.histories)]


def _is_under_way(observed: Observed, stage: Stage) -> bool:
    if stage.fingerprint in observed.committed:
        return False
    history, child = observed.history(stage), under_way(observed.history(stage), observed.child(stage))
    if child is not None:
        return child.ended is None
    return history.active > history.attempts and short(stage) not in observed.lost


def decide(observed: Observed, now: datetime) -> Decision:
    """One pass over a run's stages."""
    wanted = needed(observed.plan, observed.committed.keys())
    settled = {stage.fingerprint: _settle(observed, stage, now) for stage in wanted}
    views = {stage.fingerprint: _view(observed, stage, settled, now) for stage in wanted}
    started = _started(observed, views, now)
    views |= {view.stage.fingerprint: view for view in started}
    failed = {fingerprint for fingerprint, view in views.items() if view.state is State.FAILED}
    views |= {f: _blocked(views[f]) for f in blocked(observed.plan, failed) if f in views and views[f].history.active == 0}
    stops = _stops(observed, views, now)
    phase = _phase(observed, views, stops)
    return Decision(phase, tuple(views.values()), started, stops, _endpoints(observed, views, phase))


def _settle(observed: Observed, stage: Stage, now: datetime) -> History:
    """A stage's history with what has ended since."""
    history, child = observed.history(stage), observed.child(stage)
    current = under_way(history, child)
    if current is None:
        return _settle_missing(observed, stage, history, now)
    step = _step(observed, stage, history)
    if current.ended is not None:
        return history.with_ending(current.number, current.ended, step)
    if observed.policy.suspend:
        return history.dropped(current.number).paused(now)
    if current.phase is Phase.QUEUED:
        return history.begun(current.number).paused(now)
    counted = history.begun(current.number).counting(now)
    if counted.spent_at(now) > observed.policy.deadline.total_seconds():
        late = Ended(Ending.TRY_AGAIN, Reason.DEADLINE_EXCEEDED, "stopped at its deadline", now)
        return counted.with_ending(current.number, late, step)
    return counted


def _settle_missing(observed: Observed, stage: Stage, history: History, now: datetime) -> History:
    if history.active <= history.attempts:
        return history.paused(now) if observed.policy.suspend else history
    if observed.policy.suspend:
        return history.dropped(history.active).paused(now)
    if short(stage) not in observed.lost:
        return history
    gone = Ended(Ending.PREEMPTED, Reason.POD_DELETED, "its job was deleted", now)
    return history.with_ending(history.active, gone, _step(observed, stage, history))


def _step(observed: Observed, stage: Stage, history: History) -> int:
    progress = observed.progress.get(stage.fingerprint)
    return max(history.step, progress.step) if progress is not None else history.step


def _view(observed: Observed, stage: Stage, settled: Mapping[str, History], now: datetime) -> View:
    """Where a stage stands before anything new is started."""
    history = settled[stage.fingerprint]
    if history.active > history.attempts:
        return _running(observed, stage, history)
    open_inputs = any(ref.fingerprint not in observed.committed for ref in stage.needs)
    if observed.policy.suspend:
        return View(stage, State.PENDING, history, Reason.SUSPENDED if history.last or history.attempts else None)
    if open_inputs:
        return View(stage, State.PENDING, history)
    return _waiting(observed, stage, history, now)


def _running(observed: Observed, stage: Stage, history: History) -> View:
    child = observed.child(stage)
    if child is None or child.phase is Phase.RUNNING or child.number != history.active:
        return View(stage, State.RUNNING, history)
    if child.trouble is not None:
        return View(stage, State.WAITING, history, child.trouble.reason, advised(child.trouble, stage))
    return View(stage, State.WAITING, history, Reason.PENDING, "its pods are being started")


def _waiting(observed: Observed, stage: Stage, history: History, now: datetime) -> View:
    """A ready stage that is not at work: given up, to be retried later, held up, or free to start (then PENDING without a reason)."""
    policy = observed.policy
    action = next_attempt(history.seen(), policy.retries, policy.deadline, _clock_start(history, now), now)
    if isinstance(action, Fail):
        return View(stage, State.FAILED, history, Reason(action.reason), action.message)
    left = observed.child(stage)
    if left is not None and left.phase is not Phase.ENDED and left.number <= history.attempts:
        return View(stage, State.WAITING, history, Reason.STOPPING, f"attempt {left.number} is still ending")
    is_new = history.attempts > observed.history(stage).attempts
    if isinstance(action, WaitUntil) or is_new:
        last = history.last.message if history.last is not None else ""
        return View(stage, State.WAITING, history, Reason.RETRYING, last, action.when if isinstance(action, WaitUntil) else now)
    if stage.fingerprint in observed.foreign:
        owner = observed.foreign[stage.fingerprint]
        return View(stage, State.FOLLOWING, history, Reason.FOLLOWING, f"attempt {owner} is at work, or was until seconds ago")
    return _held_up(observed, stage, history) or View(stage, State.PENDING, history)


def _clock_start(history: History, now: datetime) -> datetime | None:
    return None if history.started is None and not history.spent else history.started_for(now)


def _held_up(observed: Observed, stage: Stage, history: History) -> View | None:
    """A stage that could start, were it not for something in the cluster."""
    if stage.kind in kinds.TRAINING and not observed.training:
        return View(
            stage, State.WAITING, history, Reason.NOT_INSTALLED, "the cluster has no PyTorchJob; is the training operator installed?"
        )
    asked = sorted(served_endpoints(stage))
    if asked and not observed.serving:
        return View(stage, State.WAITING, history, Reason.NOT_INSTALLED, "the cluster has no InferenceService; is KServe installed?")
    for name in asked:
        endpoint = observed.endpoints.get(name)
        if endpoint is None or not endpoint.ready:
            message = endpoint.message if endpoint is not None else "it is being made"
            return View(stage, State.WAITING, history, Reason.ENDPOINT_NOT_READY, f"endpoint {name}: {message}")
    return None


def _started(observed: Observed, views: Mapping[str, View], now: datetime) -> tuple[View, ...]:
    """The stages to start now, in plan order, as many as there is room for; one that goes on in the next pass keeps its place."""
    at_work = sum(view.history.active > view.history.attempts or view.next_retry == now for view in views.values())
    allowed = {stage.fingerprint for stage in candidates(observed)}
    free = [
        view
        for view in views.values()
        if view.state is State.PENDING and view.reason is None and view.stage.fingerprint in allowed and not observed.policy.suspend
    ]
    room = max(0, observed.policy.parallelism - at_work)
    return tuple(
        replace(view, state=State.WAITING, reason=Reason.PENDING, message="its pods are being started", history=_next(view.history))
        for view in free[:room]
    )


def _next(history: History) -> History:
    return history.begun(history.attempts + 1)


def _blocked(view: View) -> View:
    return replace(view, state=State.BLOCKED, reason=Reason.UPSTREAM_FAILED, message="needs a stage that was given up")


def _stops(observed: Observed, views: Mapping[str, View], now: datetime) -> tuple[Child, ...]:
    """Objects to delete: attempts that no longer count and still run, those that outlive their stage's commit, old ended ones."""
    by_short = {short(view.stage): view for view in views.values()}
    commits = {fingerprint[:FINGERPRINT]: commit for fingerprint, commit in observed.committed.items()}
    active = [child for child in observed.children.values() if child.phase is not Phase.ENDED and not child.deleting]
    over = [child for child in active if (view := by_short.get(child.stage)) is not None and child.number <= view.history.attempts]
    late = [child for child in active if (commit := commits.get(child.stage)) is not None and now - commit.ended > LINGER]
    return (*(child for child in observed.older if not child.deleting), *over, *late)


def _phase(observed: Observed, views: Mapping[str, View], stops: tuple[Child, ...]) -> RunPhase:
    if not views:
        return RunPhase.COMPLETE
    if observed.policy.suspend:
        busy = any(c.phase is not Phase.ENDED for c in observed.children.values()) or stops
        return RunPhase.SUSPENDING if busy else RunPhase.SUSPENDED
    over = all(view.state in (State.FAILED, State.BLOCKED) for view in views.values())
    return RunPhase.FAILED if over else RunPhase.RUNNING


def _endpoints(observed: Observed, views: Mapping[str, View], phase: RunPhase) -> frozenset[str]:
    """Endpoints to serve: those a stage waits for or asks, and those that are there while somebody may still ask."""
    if phase is not RunPhase.RUNNING or not observed.serving:
        return frozenset()
    found: set[str] = set()
    for view in views.values():
        if view.state in (State.FAILED, State.BLOCKED):
            continue
        near = view.reason is Reason.ENDPOINT_NOT_READY or view.history.active > view.history.attempts or view.next_retry is not None
        found |= {name for name in served_endpoints(view.stage) if near or _exists(observed, name)}
    return frozenset(found)


def _exists(observed: Observed, name: str) -> bool:
    endpoint = observed.endpoints.get(name)
    return endpoint is not None and endpoint.exists
