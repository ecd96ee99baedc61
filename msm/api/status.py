"""The status of an MSMRun as people and tools read it; the operator writes it, nobody else.

Neighbours: `crd` makes the status schema from these models; the operator fills the same fields from typed values of its own. Invariant:
unfinished stages have a row, finished ones are counts, so that a run with 500 stages stays below 256 KB. Times are RFC 3339 in UTC.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from msm.api.base import Record

Word = Annotated[str, StringConstraints(max_length=63)]
Line = Annotated[str, StringConstraints(max_length=1024)]
Count = Annotated[int, Field(ge=0)]


class Condition(Record):
    """One aspect of the state, by the API conventions; `kubectl wait --for=condition=Succeeded` waits for one."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=316)]
    """What it is about: Accepted, Progressing, Suspended, Succeeded, Failed, StoreAvailable, TrainingAvailable, and so on."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    observed_generation: Count | None = None
    """Generation of the spec that it was decided from."""
    last_transition_time: datetime
    """When `status` changed last."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Why, in one word that scripts may rely on; docs/guide/troubleshooting.md has a section for each."""
    message: Annotated[str, StringConstraints(max_length=32768)] = ""
    """Why, for people: names the field or the object, and the next step."""


class PlanStatus(Record):
    """The frozen plan in numbers."""

    digest: Annotated[str, StringConstraints(max_length=80)]
    """SHA-256 of plan.json in the store; every pass executes that file."""
    total: Count
    """Stages that the run needs."""
    done: Count
    """Stages whose artifact is committed."""
    reused: Count = 0
    """Stages that were committed before this run."""
    arms: Count | None = None
    """Arms that are compared."""


class Progress(Record):
    """How far the run is."""

    percentage: Annotated[int, Field(ge=0, le=100)]
    """Share of the work that is done, in percent."""
    estimated_remaining_seconds: Count | None = None
    """Seconds until the end at the present rate; absent while nothing tells."""
    remaining: Annotated[str, StringConstraints(max_length=32)] | None = None
    """The same for people, such as 1h5m."""


class AttemptEnd(Record):
    """How the last attempt of a stage ended."""

    ending: Word
    """Whose move it is: committed, user error, try again, preempted, fault."""
    reason: Word
    """What it is called, such as OutOfMemory."""
    message: Line = ""
    """What the program said last."""
    time: datetime
    """When it ended."""


class StageStatus(Record):
    """One unfinished stage: where it stands, why, what was tried, and when it is tried next."""

    name: Annotated[str, StringConstraints(max_length=253)]
    """Name of the stage within the run."""
    kind: Word
    """fetch, outline, write, curate, demonstrate, midtrain, finetune or evaluate."""
    fingerprint: Annotated[str, StringConstraints(max_length=64)]
    """First characters of its fingerprint."""
    state: Word
    """Where it stands."""
    reason: Word | None = None
    """Why."""
    message: Line | None = None
    """Why, for people."""
    percentage: Annotated[int, Field(ge=0, le=100)] | None = None
    """Share of its work that is done, in percent."""
    next_retry: datetime | None = None
    """When the next attempt starts."""
    attempts: Count | None = None
    """Attempts so far."""
    active: Count | None = None
    """Number of the attempt under way."""
    faults: Count | None = None
    """Attempts that failed by nobody's wish; execution.retries.limit bounds them."""
    try_agains: Count | None = None
    """Attempts that found something outside unavailable."""
    standstill: Count | None = None
    """Preemptions in a row without a new step."""
    step: Count | None = None
    """Training step of the last checkpoint."""
    spent_seconds: Annotated[float, Field(ge=0)] | None = None
    """Seconds that count against execution.deadline, before startTime."""
    start_time: datetime | None = None
    """Since when its time counts against execution.deadline."""
    last: AttemptEnd | None = None
    """How the last attempt ended."""


class MSMRunStatus(Record):
    """What is observed; written by the operator."""

    observed_generation: Count | None = None
    """Generation of the spec that this status speaks of."""
    run: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Identity of the run in the store: its records are below runs/<run>/."""
    plan: PlanStatus | None = None
    """The frozen plan in numbers."""
    stage: Annotated[str, StringConstraints(max_length=253)] | None = None
    """What is at work, in a word."""
    progress: Progress | None = None
    """How far the run is."""
    stages: Annotated[tuple[StageStatus, ...], Field(max_length=500)] = ()
    """Unfinished stages of which there is something to say."""
    results: dict[str, Any] | None = None
    """The outcome in short; all of it is in the store and in MLflow."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=32)] = ()
    """The state in its aspects."""
