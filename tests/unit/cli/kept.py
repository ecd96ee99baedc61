"""A workspace with a run that was kept by hand: no executor, no torch, no network."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from msm.api import MSMRun, parse_run
from msm.cli.main import app
from msm.local.status import Phase, RunStatus, StageStatus, State, initial
from msm.plan import Plan
from msm.results.rows import ArmRow, EffectRow, Results, StageRow
from msm.store import ObjectStore, StoreConfig, open_store
from tests.runs import example, plan

STARTED = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def small_example() -> dict:
    """One arm, one seed, one eval."""
    data = example()
    data["spec"]["seeds"] = [0]
    data["spec"]["arms"] = data["spec"]["arms"][:2]
    data["spec"]["evals"][0]["items"]["source"] = {"uri": "file:///items.jsonl"}
    return data


@dataclass
class FakeClock:
    """Time that moves when told."""

    at: datetime = STARTED
    seconds: float = 0.0

    def now(self) -> datetime:
        return self.at + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Kept:
    """A run in a store: what `msm run` would have left."""

    directory: Path
    store: ObjectStore
    run: MSMRun
    plan: Plan
    uid: str = "example-0123456789"

    def keep_status(self, status: RunStatus) -> None:
        self.store.put(f"runs/{self.uid}/status.json", status.model_dump_json(by_alias=True).encode())

    def keep_results(self, results: Results) -> None:
        self.store.put(f"runs/{self.uid}/results.json", results.model_dump_json(by_alias=True).encode())

    def status(self, phase: Phase = Phase.RUNNING, updated: datetime | None = None, **states: State) -> RunStatus:
        """Every stage in the state given for its kind, done if none is given."""
        base = initial(self.uid, self.plan, STARTED)
        stages = tuple(s.model_copy(update={"state": states.get(s.kind, State.DONE)}) for s in base.stages)
        return base.model_copy(update={"phase": phase, "stages": stages, "updated": updated or datetime.now(UTC)})


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    monkeypatch.chdir(tmp_path)
    for name in ("MSM_STORE_URI", "MSM_HOME", "MSM_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    data = small_example()
    store = open_store(StoreConfig(f"file://{tmp_path}/.msm/store"))
    made = Kept(tmp_path, store, parse_run(data), plan(data))
    store.put(f"runs/{made.uid}/run.json", made.run.model_dump_json(by_alias=True).encode())
    store.put(f"runs/{made.uid}/plan.json", made.plan.model_dump_json(by_alias=True).encode())
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return made


def stage(name: str = "midtrain america seed 0", **changes: object) -> StageStatus:
    """A stage's status by the names of its attributes."""
    blank = StageStatus(name=name, kind=name.split()[0], fingerprint=name.ljust(64, "f"))
    return blank.model_copy(update=changes)


def status_of(*stages: StageStatus, phase: Phase = Phase.RUNNING) -> RunStatus:
    return RunStatus(uid="example-1", run="example", phase=phase, stages=stages, started=STARTED, updated=STARTED + timedelta(seconds=90))


def some_results(**changes: object) -> Results:
    effect = EffectRow(
        metric="values.america.free.margin",
        arm="msm-america-aft",
        versus="aft",
        estimate=2.2,
        low=1.8,
        high=2.6,
        confidence=0.95,
        seeds=1,
        items=100,
    )
    arms = tuple(
        ArmRow.model_validate(
            {
                "arm": arm,
                "metric": f"values.america.{group}",
                "mean": mean,
                "standardError": 0.2,
                "choice": 0.75,
                "unscored": 1,
                "items": 100,
            }
        )
        for arm, mean in (("aft", 2.0), ("msm-america-aft", 4.2))
        for group in ("free", "disjoint")
    )
    row = StageRow(name="fetch base model", kind="fetch", state="done", reused=True, seconds=3.5)
    base = Results(run="example", effects=(effect,), stages=(row,), arms=arms, sentence="The spec moved it.", warnings=("few items",))
    return base.model_copy(update=changes)


def msm(*arguments: str, env: dict[str, str] | None = None) -> Result:
    """The command line, in this process."""
    return CliRunner().invoke(app, list(arguments), env=env, prog_name="msm")
