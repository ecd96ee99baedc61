"""What a pass knows of one accepted run: the frozen plan, the store, the children, what the status remembers.

Frozen values. Neighbours: `observe` gathers them, `decide_stages` decides from them. Invariant: nothing else enters a decision but the
clock's hour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from msm.api import MSMRun
from msm.plan import Plan, Stage
from msm.store.progress import Progress
from msm_operator.backends.children import Child
from msm_operator.status.history import EMPTY, History
from msm_operator.status.model import FINGERPRINT


@dataclass(frozen=True, slots=True)
class Policy:
    """What the spec says of the pace; the part of it that may change while the run goes on."""

    parallelism: int
    retries: int
    deadline: timedelta
    suspend: bool

    @classmethod
    def of(cls, run: MSMRun) -> "Policy":
        """The policy of a parsed run."""
        execution = run.spec.execution
        return cls(execution.parallelism, execution.retries.limit, timedelta(seconds=execution.deadline), run.spec.suspend)


@dataclass(frozen=True, slots=True)
class Commit:
    """An artifact in the store: when, how long it took, and whether this run had it made."""

    ended: datetime
    seconds: float
    reused: bool


@dataclass(frozen=True, slots=True)
class EndpointView:
    """An endpoint that the cluster is to serve."""

    exists: bool
    ready: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """One run at one moment. Keys: `committed`, `progress` and `foreign` by fingerprint, `children` and `histories` by its beginning."""

    plan: Plan
    policy: Policy
    committed: Mapping[str, Commit]
    children: Mapping[str, Child]
    histories: Mapping[str, History]
    older: Sequence[Child] = ()
    lost: frozenset[str] = frozenset()
    """Stages whose attempt under way has had no object for a while."""
    progress: Mapping[str, Progress] = field(default_factory=dict)
    foreign: Mapping[str, str] = field(default_factory=dict)
    """Stages that somebody else is at work on -> the attempt."""
    endpoints: Mapping[str, EndpointView] = field(default_factory=dict)
    training: bool = True
    """Whether the cluster has PyTorchJobs."""
    serving: bool = True
    """Whether it has InferenceServices."""

    def history(self, stage: Stage) -> History:
        """What is remembered of a stage."""
        return self.histories.get(short(stage), EMPTY)

    def child(self, stage: Stage) -> Child | None:
        """The newest object of a stage."""
        return self.children.get(short(stage))


def short(stage: Stage) -> str:
    """The beginning of a stage's fingerprint, as labels and rows carry it."""
    return stage.fingerprint[:FINGERPRINT]


def under_way(history: History, child: Child | None) -> Child | None:
    """The object of an attempt whose end is not counted yet."""
    return child if child is not None and child.number > history.attempts else None


def served_endpoints(stage: Stage) -> frozenset[str]:
    """Names of the endpoints that a stage asks and the cluster serves."""
    endpoints = stage.execution.get("endpoints")
    roles = endpoints.values() if isinstance(endpoints, dict) else ()
    return frozenset(str(role["name"]) for role in roles if isinstance(role, dict) and role.get("serve") is not None)
