"""A small run whose stages are committed as tiny artifacts in a real store: what tracking projects, without any training."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from msm.api import MSMRun, parse_run
from msm.plan import Plan, Stage, plan_run
from msm.store.artifacts import TIMES_FILE, begin_attempt, read_manifest
from msm.store.objects import ObjectStore
from msm.tracking import Snapshot
from tests.runs import example, resolution

STEPS = 30
UID = "example-0a1b2c"


@dataclass(slots=True)
class TickingClock:
    """A clock that a test owns: each look at it costs a second."""

    at: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at

    def monotonic(self) -> float:
        return self.now().timestamp()

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def run_data(**spec: Any) -> dict[str, Any]:
    """Two arms that share nothing but the base model and the chats, one seed, a registry."""
    data = example()
    arms = [arm for arm in data["spec"]["arms"] if arm["name"] in ("aft", "msm-america-aft")]
    data["spec"] |= {"arms": arms, "seeds": [7], "registry": {"model": "cheese", "candidate": "msm-america-aft"}, **spec}
    return data


def planned(data: dict[str, Any]) -> tuple[MSMRun, Plan]:
    run = parse_run(data)
    return run, plan_run(run, resolution())


def commit(store: ObjectStore, stage: Stage, clock: TickingClock, steps: int = STEPS) -> None:
    """Commit a tiny artifact of the stage's kind."""
    attempt = begin_attempt(store, stage.kind, stage.fingerprint, clock)
    for name, data in _files(stage, steps).items():
        attempt.put_bytes(name, data)
    times = [{"step": i, "tokensPerSecond": 100.0 + i} for i in range(1, steps + 1)]
    attempt.put_beside(TIMES_FILE, "".join(json.dumps(r) + "\n" for r in times).encode())
    inputs = {
        role: [m.ref for ref in refs if (m := read_manifest(store, ref.kind, ref.fingerprint))] for role, refs in stage.inputs.items()
    }
    attempt.commit(kind_version=stage.version, inputs=inputs, params=stage.params, versions={}, metrics={"rows": 3.0})


def _files(stage: Stage, steps: int) -> dict[str, bytes]:
    if stage.kind in ("midtrain", "finetune"):
        rows = [{"step": i, "totalSteps": steps, "loss": 3.0 - i / steps} for i in range(1, steps + 1)]
        return {"adapter_model.safetensors": stage.name.encode(), "metrics.jsonl": "".join(json.dumps(r) + "\n" for r in rows).encode()}
    return {"rows.jsonl": stage.name.encode()}


def results() -> dict[str, Any]:
    effect = {"metric": "values.america.free.margin", "arm": "msm-america-aft", "versus": "aft", "estimate": 2.0, "low": 1.5, "high": 2.5}
    stage = {"name": "fetch base model", "kind": "fetch", "state": "done", "reused": False, "seconds": 3.0}
    return {"run": "example", "effects": [{**effect, "confidence": 0.95, "seeds": 1, "items": 48}], "stages": [stage]}


def committed_snapshot(store: ObjectStore, data: dict[str, Any], only: Collection[str] | None = None, uid: str = UID) -> Snapshot:
    """The run with all its stages (or those of some kinds) committed."""
    run, plan = planned(data)
    clock = TickingClock()
    for stage in plan.stages:
        if (only is None or stage.kind in only) and read_manifest(store, stage.kind, stage.fingerprint) is None:
            commit(store, stage, clock)
    return Snapshot(run=run, uid=uid, plan=plan, committed={}).with_committed_of(store)
