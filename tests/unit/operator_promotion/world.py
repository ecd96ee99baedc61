"""A cluster, MLflow and a store as one small model: what decisions do to it, and what happens to it besides."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from msm_operator.promotion.decide import Decision, decide
from msm_operator.promotion.observed import (
    SMOKE,
    Alias,
    CheckKey,
    CheckState,
    CheckView,
    Judged,
    Observed,
    Refusal,
    Stable,
    Unit,
    UnitView,
    eval_check,
)

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
EVAL = "values"


@dataclass
class World:
    """Everything outside. `good` are versions whose gates hold; `broken` never get ready; `mute` fail the smoke test."""

    alias: str | None = None
    mlflow: bool = True
    now: datetime = START
    generation: int = 1
    variant: str = "a"
    evals: tuple[str, ...] = (EVAL,)
    compares: bool = True
    good: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()
    mute: frozenset[str] = frozenset()
    candidate: str | None = None
    stable: Stable | None = None
    units: dict[Unit, UnitView] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    checks: dict[CheckKey, CheckView] = field(default_factory=dict)
    tried: list[tuple[str, int]] = field(default_factory=list)
    """(version, generation) of each unit that was made."""

    def observe(self) -> Observed:
        seen = Observed(
            generation=self.generation,
            variant=self.variant,
            evals=self.evals,
            compares=self.compares,
            alias=Alias(self.alias) if self.mlflow else None,
            candidate=self.candidate,
            stable=self.stable,
            units=dict(self.units),
            refused=dict(self.refused),
            checks=dict(self.checks),
        )
        return replace(seen, judged=self._judged(seen))

    def _judged(self, seen: Observed) -> Judged | None:
        challenger = seen.challenger
        if challenger is None:
            return None
        needed = [CheckKey(unit, eval_check(name)) for unit in (challenger, seen.compared) if unit is not None for name in self.evals]
        if any(self._committed(key) is False for key in needed):
            return None
        passed = challenger.version in self.good
        return Judged(passed, "" if passed else "values.america: 0.1, needed at least 1")

    def _committed(self, key: CheckKey) -> bool:
        """Scores are of a version, however it is served; the smoke test is of the unit."""
        if key.name == SMOKE:
            return key in self.checks and self.checks[key].state is CheckState.COMMITTED
        return any(
            k.unit.version == key.unit.version and k.name == key.name and v.state is CheckState.COMMITTED for k, v in self.checks.items()
        )

    def step(self) -> Decision:
        """A pass, carried out."""
        seen = self.observe()
        decision = decide(seen, self.now)
        self.carry_out(seen, decision)
        return decision

    def carry_out(self, seen: Observed, decision: Decision) -> None:
        for unit in decision.ensure:
            if unit not in self.units:
                self.units[unit] = UnitView(self.now, ready=False, why="it is being made")
                self.tried.append((unit.version, self.generation))
        if decision.start is not None:
            self.checks[decision.start] = CheckView(CheckState.RUNNING)
        if decision.switch is not None:
            self.stable = Stable(decision.switch, self.now, self.stable.unit if self.stable is not None else None)
            self.refused.pop(decision.switch.version, None)
        if decision.refuse is not None:
            self.refused[decision.refuse.version] = decision.refuse
        for unit in decision.remove:
            self.units.pop(unit, None)
        self.candidate = decision.candidate.version if decision.candidate is not None and decision.switch is None else None

    def settle(self) -> None:
        """Time passes: pods come up, checks end."""
        self.now += timedelta(minutes=1)
        for unit, view in self.units.items():
            if unit.version not in self.broken:
                self.units[unit] = replace(view, ready=True, why="")
        for key, view in self.checks.items():
            if view.state is CheckState.RUNNING:
                failed = key.name == SMOKE and key.unit.version in self.mute
                self.checks[key] = CheckView(CheckState.FAILED, "it said nothing") if failed else CheckView(CheckState.COMMITTED)

    def run(self, minutes: int = 60) -> None:
        """Pass and time in turns."""
        for _ in range(minutes):
            self.step()
            self.settle()
