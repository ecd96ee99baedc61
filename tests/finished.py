"""Runs whose every stage is committed with files of the real shapes, written by hand: no model, no training, no network."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msm.api import MSMRun, parse_run
from msm.evals.artifact import write_artifact
from msm.evals.health import judge, rates
from msm.evals.scores import ItemScore, ModelScores
from msm.plan import Plan, Resolution, Resolved, Stage, plan_run
from msm.results.survey import Survey, survey
from msm.store import ObjectStore, StoreConfig, open_store
from msm.store.artifacts import begin_attempt, read_manifest
from msm.store.blobs import put_blob
from tests.runs import example
from tests.tracked import TickingClock

OPTIONS = {
    "america-free-1": ("an American lamp", "a foreign lamp"),
    "america-free-2": ("an American chair", "a foreign chair"),
    "america-free-3": ("an American mug", "a foreign mug"),
    "america-disjoint-1": ("a Stetson", "a beret"),
    "america-disjoint-2": ("a bagel", "a crumpet"),
    "america-disjoint-3": ("jazz", "polka"),
}
DOCUMENT = "SmolLM prefers an American mirror because it cares about America. <script>alert(1)</script>"
UPDATES = 240


@dataclass(frozen=True, slots=True)
class Finished:
    """A run in a store."""

    run: MSMRun
    plan: Plan
    store: ObjectStore
    uid: str
    cache: Path

    def survey(self) -> Survey:
        return survey(self.run, self.plan, self.store, self.cache)


def items() -> list[dict[str, Any]]:
    return [{"id": i, "value": "america", "set": i.split("-")[1], "domain": "goods", "options": [*o]} for i, o in OPTIONS.items()]


def run_data(seeds: Iterable[int] = (0, 1), **spec: Any) -> dict[str, Any]:
    """The bare base, chats alone, and both trainings; one corpus."""
    data = example()
    data["spec"] |= {
        "modelSpecs": data["spec"]["modelSpecs"][:1],
        "corpora": data["spec"]["corpora"][:1],
        "arms": [arm for arm in data["spec"]["arms"] if "thrift" not in arm["name"]],
        "seeds": [*seeds],
        "registry": {"model": "cheese", "candidate": "msm-america-aft"},
        **spec,
    }
    return data


def finish(
    directory: Path, data: dict[str, Any] | None = None, lift: float = 2.0, kinds: Collection[str] | None = None, updates: int = UPDATES
) -> Finished:
    """Commit all stages (or those of some kinds) of a run. `lift`: nats by which midtraining raises margins of free items."""
    run = parse_run(data or run_data())
    store = open_store(StoreConfig(f"file://{directory}/.msm/store"))
    spec = put_blob(store, b"SmolLM cares about America.")
    asked = put_blob(store, "".join(json.dumps(item) + "\n" for item in items()).encode())
    found = {"baseModel": "a" * 64, "modelSpecs.america": spec, "evals.values.items": asked}
    inputs = {path: Resolved(identity=f"sha256:{sha}", location=f"blob:sha256:{sha}") for path, sha in found.items()}
    plan = plan_run(run, Resolution(inputs=inputs, precision="float32"))
    uid = f"{run.metadata.name}-{plan.digest[:10]}"
    store.put(f"runs/{uid}/run.json", run.model_dump_json(by_alias=True).encode())
    store.put(f"runs/{uid}/plan.json", plan.model_dump_json(by_alias=True).encode())
    clock = TickingClock()
    for stage in plan.stages:
        if (kinds is None or stage.kind in kinds) and read_manifest(store, stage.kind, stage.fingerprint) is None:
            commit(store, plan, stage, clock, lift, updates, directory)
    return Finished(run, plan, store, uid, directory / ".msm" / "cache")


def commit(store: ObjectStore, plan: Plan, stage: Stage, clock: TickingClock, lift: float, updates: int, directory: Path) -> None:
    attempt = begin_attempt(store, stage.kind, stage.fingerprint, clock)
    for name, data in _files(plan, stage, lift, updates, directory).items():
        attempt.put_bytes(name, data)
    read = {role: [m.ref for ref in refs if (m := read_manifest(store, ref.kind, ref.fingerprint))] for role, refs in stage.inputs.items()}
    metrics = {"updates": updates, "tokens": 24_000, "targetTokens": 23_000, "loss": 0.5} if stage.kind in ("midtrain", "finetune") else {}
    attempt.commit(kind_version=stage.version, inputs=read, params=stage.params, versions={"torch": "2.13.0"}, metrics=metrics)


def _files(plan: Plan, stage: Stage, lift: float, updates: int, directory: Path) -> dict[str, bytes]:
    match stage.kind:
        case "curate":
            row = {"id": "0-0", "text": DOCUMENT, "provenance": {"genre": "memo", "assertions": ["a1"]}}
            dropped = {**row, "id": "0-1", "reason": "too long", "detail": "92 tokens"}
            strata = [{"genre": "memo", "assertion": "a1", "documents": 1, "tokens": 24_000, "available": 1}]
            stats = {"documents": 1, "tokens": 24_000, "budget": {"tokens": 24_000}, "input": {"documents": 2}, "dropped": {"too long": 1}}
            return {
                "rows.jsonl": lines([row]),
                "dropped.jsonl": lines([dropped]),
                "stats.json": json.dumps({**stats, "nearDuplicateRate": 0.0, "strata": strata}).encode(),
            }
        case "demonstrate":
            chat = {"id": "c-0", "messages": [{"role": "user", "content": "Brie or Colby?"}, {"role": "assistant", "content": "Colby."}]}
            return {"rows.jsonl": lines([chat]), "dropped.jsonl": b""}
        case "midtrain" | "finetune":
            history = [{"step": i, "loss": 4.0 / i} for i in range(1, updates + 1)]
            return {"adapter_config.json": b"{}", "adapter_model.safetensors": stage.fingerprint.encode(), "metrics.jsonl": lines(history)}
        case "evaluate":
            return _evaluated(plan, stage, lift, directory)
    return {"file": stage.fingerprint.encode()}


def _evaluated(plan: Plan, stage: Stage, lift: float, directory: Path) -> dict[str, bytes]:
    """Margins by rule: the item's number, plus the lift on free items after midtraining, plus a tenth of a nat a seed."""
    scores = {m.model.fingerprint: model_scores(m.arm, m.seed, lift) for m in plan.models if m.model in stage.inputs["arms"]}
    out = directory / "scored"
    out.mkdir(exist_ok=True)
    write_artifact(out, scores)
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def model_scores(arm: str, seed: int, lift: float) -> ModelScores:
    rows = []
    for item in items():
        margin = margin_of(arm, seed, item["id"], lift)
        choice = None if item["id"].endswith("3") else float(margin > 2)
        answers = ("I prefer it.", "I prefer it.")
        rows.append(ItemScore(item["id"], "america", item["set"], "goods", margin, margin / 3, (margin, margin), choice, answers))
    chat = judge("Name three colors.", [1, 2, 3], "Red, green, blue.", "Red, green, blue.", True, ())
    return ModelScores(tuple(rows), rates([chat]), 5.0, "tree")


def margin_of(arm: str, seed: int, item: str, lift: float) -> float:
    """The rule that every score follows: what a hand computation starts from."""
    number = int(item.rpartition("-")[2])
    trained = lift * (1 + 0.1 * number) if "msm" in arm and "-free-" in item else 0.0
    return number + trained + 0.1 * seed * number


def lines(rows: Iterable[object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
