import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from msm.clock import SystemClock
from msm.local.accept import accept
from msm.local.records import load_results
from msm.local.session import run_local
from msm.local.status import Phase, RunStatus
from msm.report import Report
from msm.store.artifacts import read_manifest
from msm.tracking.index import read_index

pytestmark = pytest.mark.slow


def run_file(path: Path, show: Callable[[RunStatus], None] = lambda status: None, stop: threading.Event | None = None) -> RunStatus:
    accepted = accept(path, os.environ, path.parent)
    return run_local(accepted, show, stop or threading.Event(), SystemClock())


def test_the_whole_chain_runs_on_a_real_model_and_a_second_call_does_nothing(write_run: Callable[..., Path]) -> None:
    path = write_run()
    seen: list[RunStatus] = []
    status = run_file(path, seen.append)
    assert status.phase is Phase.SUCCEEDED, status.message
    accepted = accept(path, os.environ, path.parent)
    results = load_results(accepted.store, accepted.uid)
    assert results is not None
    assert {(e.metric, e.arm, e.versus) for e in results.effects} == {
        ("values.home.free.margin", "msm-home-aft", "aft"),
        ("values.home.free.choice", "msm-home-aft", "aft"),
    } or {e.metric for e in results.effects} == {"values.home.free.margin"}
    assert all(e.items == 4 for e in results.effects if e.metric.endswith("margin"))
    assert any("200" in warning for warning in results.warnings), "too few updates is a loud warning"
    assert any(s.metrics.get("loss") for step in seen for s in step.stages)
    assert check_lineage(path)
    assert check_report(path)
    again = run_file(path)
    assert again.phase is Phase.SUCCEEDED
    assert [s.attempts for s in again.stages] == [0] * len(again.stages)
    assert not list((path.parent / ".msm" / "scratch").iterdir()), "scratch is cleaned"


def check_report(path: Path) -> bool:
    """The page, its data and a card for each trained model lie in the workspace and with the run."""
    accepted = accept(path, os.environ, path.parent)
    index = read_index(accepted.store, accepted.uid)
    assert index is not None
    written = accepted.workspace.report(accepted.uid)
    assert {str(p.relative_to(written)) for p in written.rglob("*") if p.is_file()} == set(index.files)
    report = Report.model_validate_json((written / "report.json").read_bytes())
    assert (report.phase, report.missing) == ("Succeeded", ())
    assert {t.fingerprint for t in report.trainings} == set(index.cards)
    return True


def check_lineage(path: Path) -> bool:
    """Every artifact records the digests of what it read."""
    accepted = accept(path, os.environ, path.parent)
    for stage in accepted.plan.stages:
        manifest = read_manifest(accepted.store, stage.kind, stage.fingerprint)
        assert manifest is not None
        for role, refs in stage.inputs.items():
            recorded = manifest.inputs[role]
            assert [r.fingerprint for r in recorded] == [r.fingerprint for r in refs]
            for ref, got in zip(refs, recorded, strict=True):
                source = read_manifest(accepted.store, ref.kind, ref.fingerprint)
                assert source is not None
                assert source.content_digest == got.content_digest
    return True
