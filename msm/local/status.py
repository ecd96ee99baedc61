"""What a run is doing, as it is shown and as it is kept in `runs/<uid>/status.json`.

Neighbours: `executor` makes one each pass, `cli` renders it live and later. Invariant: a projection of what was observed; deleting it loses
nothing but the record of times. Frozen values: a change is a new value.
"""

from datetime import datetime
from enum import StrEnum

from msm.api.base import Record
from msm.plan import Plan, Stage
from msm.results.rows import StageRow


class State(StrEnum):
    """Where a stage stands."""

    PENDING = "pending"
    RUNNING = "running"
    FOLLOWING = "following"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"
    NOT_NEEDED = "not needed"


class Phase(StrEnum):
    """Where a run stands."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SUSPENDED = "Suspended"


class StageStatus(Record):
    """One stage of a run."""

    name: str
    """For people."""
    kind: str
    """Stage kind."""
    fingerprint: str
    """What it is."""
    state: State = State.PENDING
    """Where it stands."""
    reused: bool = False
    """Committed by somebody else, or by an earlier call."""
    seconds: float = 0.0
    """Time this run spent on it, over attempts."""
    attempts: int = 0
    """Attempts of this call."""
    attempt: str = ""
    """Id of the attempt whose progress this is."""
    percentage: float = 0.0
    """Its own progress."""
    step: int = 0
    """Units of its own work done."""
    total_steps: int = 0
    """Units of its own work in all."""
    remaining_seconds: float | None = None
    """Its own estimate."""
    metrics: dict[str, float] = {}
    """Latest measurements: loss, tokensPerSecond, …"""
    message: str = ""
    """Why it waits or failed."""


class RunStatus(Record):
    """One run."""

    uid: str
    """Identity of the run."""
    run: str
    """Its name."""
    phase: Phase
    """Where it stands."""
    stages: tuple[StageStatus, ...]
    """In plan order."""
    started: datetime
    """Of this call."""
    updated: datetime
    """Of this value."""
    message: str = ""
    """Why it failed or stopped."""
    notes: tuple[str, ...] = ()
    """What else the user should know, such as an MLflow that does not answer."""

    @property
    def done(self) -> int:
        """Stages that are committed or need not run."""
        return sum(s.state in (State.DONE, State.NOT_NEEDED) for s in self.stages)

    @property
    def percentage(self) -> float:
        """Progress of the run: each stage weighs by its kind's usual share of the time."""
        weights = [WEIGHT.get(s.kind, 1) for s in self.stages]
        shares = [100.0 if s.state in (State.DONE, State.NOT_NEEDED) else s.percentage for s in self.stages]
        return sum(w * p for w, p in zip(weights, shares, strict=True)) / max(1, sum(weights))

    @property
    def rows(self) -> tuple[StageRow, ...]:
        """The stages as results show them."""
        return tuple(StageRow(name=s.name, kind=s.kind, state=s.state, reused=s.reused, seconds=round(s.seconds, 1)) for s in self.stages)


WEIGHT = {"midtrain": 20, "finetune": 15, "evaluate": 15, "demonstrate": 4, "fetch": 4}
"""Share of a run's time that a stage of a kind usually takes."""


def initial(uid: str, plan: Plan, started: datetime) -> RunStatus:
    """The status of a run of which nothing was observed yet."""
    return RunStatus(
        uid=uid, run=plan.run, phase=Phase.RUNNING, stages=tuple(_pending(s) for s in plan.stages), started=started, updated=started
    )


def _pending(stage: Stage) -> StageStatus:
    return StageStatus(name=stage.name, kind=stage.kind, fingerprint=stage.fingerprint)
