from pathlib import Path

from msm.api import MSMRun, parse_run
from msm.clock import SystemClock
from msm.plan import Plan, Stage
from msm.results.artifacts import Artifacts
from msm.results.cautions import Seen, stale_stages
from msm.store import ObjectStore, StoreConfig, open_store
from msm.store.artifacts import begin_attempt, read_manifest
from msm.store.manifest import Manifest
from tests.runs import example, plan


def commit(store: ObjectStore, stage: Stage, contents: bytes) -> Manifest:
    attempt = begin_attempt(store, stage.kind, stage.fingerprint, SystemClock())
    attempt.put_bytes("file", contents)
    inputs = {
        role: [m.ref for ref in refs if (m := read_manifest(store, ref.kind, ref.fingerprint)) is not None]
        for role, refs in stage.inputs.items()
    }
    return attempt.commit(kind_version=1, inputs=inputs, params={}, versions={}, metrics={})


def stale_in(run: MSMRun, plan: Plan, store: ObjectStore) -> list[str]:
    seen = Seen(run, plan, Artifacts.of(plan, store, Path("unused")).manifests, (), (), (), (), {})
    return [caution.text for caution in stale_stages(seen)]


def test_a_stage_whose_input_was_made_again_differently_is_named_stale(tmp_path: Path) -> None:
    store, run, p = open_store(StoreConfig(f"file://{tmp_path}/store")), parse_run(example()), plan(example())
    outline, write = (next(s for s in p.stages if s.name == name) for name in ("outline america", "write america"))
    commit(store, outline, b"first")
    commit(store, write, b"rows")
    assert stale_in(run, p, store) == []
    store.delete(f"{outline.kind}/{outline.fingerprint}/manifest.json")
    commit(store, outline, b"second")
    (warning,) = stale_in(run, p, store)
    assert warning.startswith("write america is stale")
