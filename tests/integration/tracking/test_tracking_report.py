"""The report and the cards in a real MLflow: artifacts of the parent run, descriptions of the versions, rebuilt by a sync."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from msm.results.compose import compose
from msm.results.findings import results_of
from msm.results.publish import files_of, keep_report
from msm.tracking import TrackingConfig
from msm.tracking.client import Client, open_client
from msm.tracking.desired import Tag
from msm.tracking.projector import sync
from msm.tracking.snapshot import Snapshot, digest
from tests.finished import Finished, finish
from tests.tracked import TickingClock

pytestmark = pytest.mark.slow


@dataclass
class Tracked:
    finished: Finished
    config: TrackingConfig
    client: Client

    def snapshot(self) -> Snapshot:
        finished = self.finished
        results = results_of(finished.survey(), ()).model_dump(mode="json", by_alias=True)
        base = Snapshot(run=finished.run, uid=finished.uid, plan=finished.plan, committed={}, results=results, phase="Succeeded")
        return base.with_committed_of(finished.store)

    def publish(self, phase: str = "Succeeded") -> Snapshot:
        """Keep a report and project it, as a run's end does."""
        report = compose(self.finished.survey(), self.finished.uid, phase, ())
        index = keep_report(self.finished.store, self.finished.uid, report, files_of(report))
        snapshot = replace(self.snapshot(), report=index)
        sync(snapshot, self.finished.store, self.config, TickingClock())
        return snapshot

    def parent(self):
        experiment = self.client.get_experiment_by_name(self.config.experiment)
        found = self.client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])
        return next(run for run in found if Tag.FINGERPRINT not in run.data.tags)

    def artifact(self, name: str) -> str:
        return Path(self.client.download_artifacts(self.parent().info.run_id, f"report/{name}")).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    directory = tmp_path_factory.mktemp("tracked")
    config = TrackingConfig(f"sqlite:///{directory}/mlflow.db", "reported", directory / "mlartifacts")
    return Tracked(finish(directory), config, open_client(config, os.environ))


def test_the_report_and_its_cards_are_artifacts_of_the_parent_run(tracked: Tracked) -> None:
    snapshot = tracked.publish()
    assert snapshot.report is not None
    for path in snapshot.report.files:
        kept = tracked.finished.store.get(f"runs/{tracked.finished.uid}/report/{path}").decode()
        assert tracked.artifact(path) == kept
    assert tracked.parent().data.tags[Tag.REPORT] == snapshot.report.digest


def test_every_version_is_described_by_its_card(tracked: Tracked) -> None:
    snapshot = tracked.publish()
    assert snapshot.report is not None
    versions = tracked.client.search_model_versions("name = 'cheese'")
    assert len(versions) == len(snapshot.report.cards) == 6
    for version in versions:
        path = snapshot.report.cards[version.tags[Tag.FINGERPRINT]]
        assert version.description == tracked.artifact(path)


def test_a_changed_report_replaces_the_one_before_and_an_unchanged_one_writes_nothing(tracked: Tracked) -> None:
    before = tracked.publish()
    written: list[str] = []
    real = tracked.client.__class__.log_text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracked.client.__class__, "log_text", lambda *args: written.append(args[3]) or real(*args))
        tracked.publish()
        assert written == []
        after = tracked.publish(phase="Failed")
    assert "report/report.html" in written
    assert '"phase": "Failed"' in tracked.artifact("report.json")
    assert digest(before, tracked.config) != digest(after, tracked.config), "so the projector sees that something changed"


def test_an_artifact_store_that_refuses_is_a_note(tracked: Tracked, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError("no space")

    report = compose(tracked.finished.survey(), tracked.finished.uid, "Suspended", ())
    index = keep_report(tracked.finished.store, tracked.finished.uid, report, files_of(report))
    monkeypatch.setattr(tracked.client.__class__, "log_text", refuse)
    shown = sync(replace(tracked.snapshot(), report=index), tracked.finished.store, tracked.config, TickingClock())
    assert any(note.startswith("the report could not be stored as an artifact") for note in shown.notes)
    assert tracked.parent().data.tags[Tag.REPORT] != index.digest, "the next projection tries again"
