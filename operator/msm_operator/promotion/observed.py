"""What a pass knows of one EvalDeployment: what the alias names, what is served, which units exist, what was measured.

Frozen values. Neighbours: `observe` gathers them, `decide` decides from them. Invariant: nothing else enters a decision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

SMOKE = "smoke"
"""The first check of every unit; no eval has this name, since evals are named apart below."""


class Unit(NamedTuple):
    """One version, served in one way: an InferenceService. `variant` is a digest of what in the spec needs other pods."""

    version: str
    variant: str


class CheckState(StrEnum):
    """How far a measurement is."""

    ABSENT = "absent"
    """Not begun, or due to be tried again."""
    WAITING = "waiting"
    """To be tried again later."""
    RUNNING = "running"
    COMMITTED = "committed"
    FAILED = "failed"
    """Given up."""


class CheckKey(NamedTuple):
    """One measurement of one unit: SMOKE, or `eval.<name>`."""

    unit: Unit
    name: str


@dataclass(frozen=True, slots=True)
class CheckView:
    """A measurement as it stands; `retry` is when it may be tried again, for one that waits."""

    state: CheckState
    message: str = ""
    retry: datetime | None = None


@dataclass(frozen=True, slots=True)
class UnitView:
    """A unit that exists: since when, whether its pods are ready, and what is said where they are not. `stale`: apply it again."""

    made: datetime
    ready: bool
    why: str = ""
    leaving: bool = False
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Stable:
    """Where the stable address points: at which unit, since when, and at which before."""

    unit: Unit
    since: datetime
    previous: Unit | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that is not served: why, and the generation of the spec that refused it."""

    version: str
    reason: str
    message: str
    generation: int


@dataclass(frozen=True, slots=True)
class Alias:
    """What MLflow says now: the version, None where there is no such alias."""

    version: str | None


@dataclass(frozen=True, slots=True)
class Judged:
    """What the gates say once everything is measured: whether all hold, and the first that does not in words."""

    passed: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """One EvalDeployment at one moment. `alias` is None while MLflow does not answer; `candidate` is what was tried at the last pass.

    `checks` of the candidate and of what it is compared with; `judged` is None while something is not measured; `unservable` says why the
    wanted version's weights cannot be served.
    """

    generation: int
    variant: str
    evals: Sequence[str]
    compares: bool
    """Whether a gate compares with the version that is served."""
    alias: Alias | None
    candidate: str | None
    stable: Stable | None
    units: Mapping[Unit, UnitView]
    refused: Mapping[str, Refusal]
    checks: Mapping[CheckKey, CheckView] = field(default_factory=dict)
    judged: Judged | None = None
    unservable: str = ""
    serving: bool = True
    """Whether the cluster has InferenceServices."""

    @property
    def served(self) -> Unit | None:
        """The unit behind the stable address."""
        return self.stable.unit if self.stable is not None else None

    @property
    def wanted(self) -> Unit | None:
        """What should be served: by the alias, and while MLflow does not answer what was wanted before."""
        if self.alias is not None:
            version = self.alias.version
        else:
            version = self.candidate or (self.served.version if self.served is not None else None)
        return None if version is None else Unit(version, self.variant)

    @property
    def challenger(self) -> Unit | None:
        """What is to be tried: wanted, not served, and not refused by this spec."""
        wanted = self.wanted
        if wanted is None or wanted == self.served:
            return None
        refusal = self.refused.get(wanted.version)
        return None if refusal is not None and refusal.generation == self.generation else wanted

    @property
    def compared(self) -> Unit | None:
        """The served unit, where the challenger must be compared with it: not when the alias goes back to the version before."""
        stable, challenger = self.stable, self.challenger
        if not self.compares or stable is None or challenger is None:
            return None
        before = stable.previous.version if stable.previous is not None else None
        return None if challenger.version in (stable.unit.version, before) else stable.unit


def eval_check(name: str) -> str:
    """Name of an eval's check."""
    return f"eval.{name}"
