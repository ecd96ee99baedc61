"""A decision as people read it: the run's status in the store and the status of the resource.

Pure. Neighbours: `decide_stages` decided, `msm.local.status` is the store's form, which every command prints. Invariant: messages of
conditions hold names and causes, never numbers that creep, so that a status is written on transitions. Until the end the reason of
Succeeded is what the run is doing, since that is the reason that `kubectl get` shows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msm.local.eta import remaining_seconds
from msm.local.status import Phase, RunStatus, StageStatus, State
from msm.plan import Plan, Stage, kinds
from msm_operator.controllers.decide_stages import Decision, RunPhase, View
from msm_operator.controllers.documents import Documents
from msm_operator.controllers.observed import Observed, served_endpoints
from msm_operator.status.conditions import Truth, Wanted
from msm_operator.status.history import EMPTY
from msm_operator.status.model import PlanCounts, Row, Status
from msm_operator.status.reasons import ConditionType, Reason

PHASES = {
    RunPhase.RUNNING: Phase.RUNNING,
    RunPhase.SUSPENDING: Phase.RUNNING,
    RunPhase.SUSPENDED: Phase.SUSPENDED,
    RunPhase.COMPLETE: Phase.SUCCEEDED,
    RunPhase.FAILED: Phase.FAILED,
}
AT_WORK = (State.RUNNING, State.FOLLOWING, State.WAITING)


@dataclass(frozen=True, slots=True)
class Outside:
    """How the things outside are, beyond what a pass observed: MLflow, and the results of a run that is complete."""

    tracking: Wanted | None = None
    results: Mapping[str, Any] | None = None
    concluded: bool = False
    note: str = ""


def run_status(documents: Documents, observed: Observed, decision: Decision, started: datetime, now: datetime) -> RunStatus:
    """The status that is kept in the store."""
    views = {view.stage.fingerprint: view for view in decision.views}
    stages = tuple(_stage(stage, views.get(stage.fingerprint), observed, now) for stage in documents.plan.stages)
    failed = "; ".join(f"{s.name}: {s.message}" for s in stages if s.state is State.FAILED)
    return RunStatus(
        uid=documents.id,
        run=documents.plan.run,
        phase=PHASES[decision.phase],
        stages=stages,
        started=started,
        updated=now,
        message=failed,
    )


def _stage(stage: Stage, view: View | None, observed: Observed, now: datetime) -> StageStatus:
    commit = observed.committed.get(stage.fingerprint)
    base = StageStatus(name=stage.name, kind=stage.kind, fingerprint=stage.fingerprint)
    if commit is not None:
        seconds = 0.0 if commit.reused else commit.seconds
        return base.model_copy(
            update={"state": State.DONE, "reused": commit.reused, "seconds": seconds, "attempts": int(not commit.reused)}
        )
    if view is None:
        return base.model_copy(update={"state": State.NOT_NEEDED})
    fields: dict[str, Any] = {
        "state": view.state,
        "message": f"{view.reason.value}: {view.message}" if view.reason is not None else view.message,
        "seconds": view.history.spent_at(now),
        "attempts": max(view.history.attempts, view.history.active),
    }
    progress = observed.progress.get(stage.fingerprint)
    if progress is not None and view.state in (State.RUNNING, State.FOLLOWING):
        fields |= {
            "attempt": progress.attempt,
            "percentage": progress.percentage,
            "step": progress.step,
            "total_steps": progress.total_steps or 0,
            "remaining_seconds": progress.estimated_remaining_seconds,
            "metrics": dict(progress.metrics),
        }
    return base.model_copy(update=fields)


def resource_status(
    documents: Documents, observed: Observed, decision: Decision, kept: RunStatus, generation: int, outside: Outside
) -> Status:
    """The status that is applied to the resource."""
    plan = documents.plan
    percent = {stage.fingerprint: stage.percentage for stage in kept.stages if stage.state is State.RUNNING and stage.attempt}
    done = sum(stage.state is State.DONE for stage in kept.stages)
    over = outside.concluded or decision.phase in (RunPhase.FAILED, RunPhase.SUSPENDED)
    return Status(
        generation=generation,
        run=documents.id,
        plan=PlanCounts(documents.digest, len(plan.stages), done, sum(s.reused for s in kept.stages), len(documents.run.spec.arms)),
        stage=_headline(decision),
        rows=[_row(view, percent.get(view.stage.fingerprint)) for view in decision.views if _says_something(view)],
        percentage=100.0 if outside.concluded else min(kept.percentage, 99.0),
        remaining_seconds=None if over else remaining_seconds(kept),
        results=outside.results,
        conditions=[*_conditions(decision, outside), *_availability(plan, observed, decision), *_tracking(outside)],
    )


def _says_something(view: View) -> bool:
    return view.state is not State.PENDING or view.history != EMPTY


def _row(view: View, percentage: float | None) -> Row:
    stage = view.stage
    return Row(
        name=stage.name,
        kind=stage.kind,
        fingerprint=stage.fingerprint,
        state=view.state.value,
        history=view.history,
        reason=view.reason,
        message=view.message,
        percentage=percentage,
        next_retry=view.next_retry,
    )


def _headline(decision: Decision) -> str:
    """What is at work, or what the run waits for."""
    for states in ((State.RUNNING,), (State.WAITING,), (State.FOLLOWING,), (State.FAILED,)):
        names = [view.stage.name for view in decision.views if view.state in states]
        if names:
            return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    return ""


def _conditions(decision: Decision, outside: Outside) -> Iterator[Wanted]:
    yield Wanted(ConditionType.ACCEPTED, "True", Reason.PLANNED, "inputs are resolved and the plan is frozen")
    progressing = _progressing(decision, outside)
    yield progressing
    yield _suspended(decision)
    failed = "; ".join(f"{v.stage.name}: {v.reason}: {v.message}" for v in decision.views if v.state is State.FAILED)
    match decision.phase:
        case RunPhase.FAILED:
            yield Wanted(ConditionType.SUCCEEDED, "False", Reason.STAGES_FAILED, failed)
            yield Wanted(ConditionType.FAILED, "True", Reason.STAGES_FAILED, failed)
        case RunPhase.COMPLETE if outside.concluded:
            yield Wanted(ConditionType.SUCCEEDED, "True", Reason.ALL_COMMITTED, outside.note or "everything is committed")
            yield Wanted(ConditionType.FAILED, "False", Reason.ALL_COMMITTED)
        case _:
            yield Wanted(ConditionType.SUCCEEDED, "False", progressing.reason)
            yield Wanted(ConditionType.FAILED, "False", Reason.NOT_FINISHED, failed)


def _progressing(decision: Decision, outside: Outside) -> Wanted:
    match decision.phase:
        case RunPhase.COMPLETE if not outside.concluded:
            return Wanted(ConditionType.PROGRESSING, "True", Reason.CONCLUDING, "results and report are being computed")
        case RunPhase.COMPLETE | RunPhase.FAILED:
            return Wanted(ConditionType.PROGRESSING, "False", Reason.FINISHED)
        case RunPhase.SUSPENDED:
            return Wanted(ConditionType.PROGRESSING, "False", Reason.SUSPENDED, "spec.suspend is true")
        case RunPhase.SUSPENDING:
            return Wanted(ConditionType.PROGRESSING, "True", Reason.STOPPING, "stages are checkpointing")
    return _at_work(decision)


def _at_work(decision: Decision) -> Wanted:
    running = [view.stage.name for view in decision.views if view.state is State.RUNNING]
    if running:
        return Wanted(ConditionType.PROGRESSING, "True", Reason.STAGES_RUNNING, ", ".join(running))
    waiting = [view for view in decision.views if view.state in (State.WAITING, State.FOLLOWING) and view.reason is not None]
    if not waiting:
        return Wanted(ConditionType.PROGRESSING, "True", Reason.WAITING)
    first = waiting[0]
    return Wanted(ConditionType.PROGRESSING, "True", first.reason or Reason.WAITING, f"{first.stage.name}: {first.message}")


def _suspended(decision: Decision) -> Wanted:
    match decision.phase:
        case RunPhase.SUSPENDED:
            return Wanted(ConditionType.SUSPENDED, "True", Reason.SUSPENDED, "set spec.suspend to false to continue")
        case RunPhase.SUSPENDING:
            return Wanted(ConditionType.SUSPENDED, "False", Reason.STOPPING, "stages are checkpointing")
    return Wanted(ConditionType.SUSPENDED, "False", Reason.ACTIVE)


def _availability(plan: Plan, observed: Observed, decision: Decision) -> Iterator[Wanted]:
    yield Wanted(ConditionType.STORE_AVAILABLE, "True", Reason.REACHABLE)
    if any(stage.kind in kinds.TRAINING for stage in plan.stages):
        silent = [v.message for v in decision.views if v.reason is Reason.SILENT]
        yield _available(ConditionType.TRAINING_AVAILABLE, observed.training, silent, "PyTorchJob")
    if any(served_endpoints(stage) for stage in plan.stages):
        yield _available(ConditionType.SERVING_AVAILABLE, observed.serving, [], "InferenceService")


def _available(type_: ConditionType, installed: bool, silent: Sequence[str], kind: str) -> Wanted:
    if not installed:
        return Wanted(type_, "False", Reason.NOT_INSTALLED, f"the cluster has no {kind}; stages that need it wait")
    status: Truth = "False" if silent else "True"
    return Wanted(type_, status, Reason.SILENT if silent else Reason.REACHABLE, silent[0] if silent else "")


def _tracking(outside: Outside) -> Iterator[Wanted]:
    if outside.tracking is not None:
        yield outside.tracking


def refused(generation: int, reason: Reason, message: str, sure: bool = True) -> Status:
    """The status of a run that is not accepted, or not yet (`sure` false)."""
    status: Truth = "False" if sure else "Unknown"
    return Status(
        generation=generation,
        conditions=[
            Wanted(ConditionType.ACCEPTED, status, reason, message),
            Wanted(ConditionType.PROGRESSING, "False" if sure else "True", reason, message),
            Wanted(ConditionType.SUSPENDED, "False", Reason.ACTIVE),
            Wanted(ConditionType.SUCCEEDED, "False", reason),
            Wanted(ConditionType.FAILED, "False", Reason.NOT_FINISHED),
        ],
    )
