"""MLflow beside a run of the cluster: shown when it answers, a condition when it does not, never in the way."""

import time
from pathlib import Path

import pytest

from tests.unit.operator_msmrun.cluster import CHAIN, Workshop, msm_run

pytestmark = pytest.mark.slow


def until_said(workshop: Workshop, status: str, seconds: float = 120) -> None:
    """Pass after pass until TrackingAvailable has a status."""
    deadline = time.monotonic() + seconds
    while workshop.condition("TrackingAvailable").get("status") != status:
        assert time.monotonic() < deadline, workshop.status()
        time.sleep(0.2)
        workshop.clock(1)
        workshop.reconcile()


def test_mlflow_shows_a_finished_run_and_the_status_says_so(workshop: Workshop, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    workshop.reconciler.rooms.tracker.start()
    workshop.submit(msm_run(**CHAIN, tracking={"uri": uri, "experiment": "cheese"}))
    workshop.finish()
    until_said(workshop, "True")
    until = time.monotonic() + 60
    while not workshop.condition("TrackingAvailable").get("message") and time.monotonic() < until:
        time.sleep(0.2)
        workshop.clock(1)
        workshop.reconcile()
    assert "MLflow shows run example-" in workshop.condition("TrackingAvailable")["message"]
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("cheese")
    runs = client.search_runs([experiment.experiment_id], f"tags.`msm.run` = '{workshop.documents().id}'")
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert len(runs) == len(workshop.plan.stages) + 1
    writes = len(workshop.cluster.writes)
    assert workshop.reconcile() is None
    assert len(workshop.cluster.writes) == writes


def test_an_mlflow_that_does_not_answer_is_a_condition_and_the_run_succeeds(workshop: Workshop) -> None:
    workshop.reconciler.rooms.tracker.start()
    workshop.submit(msm_run(**CHAIN, tracking={"uri": "http://127.0.0.1:9"}))
    workshop.reconcile()
    until_said(workshop, "False")
    assert workshop.condition("TrackingAvailable")["reason"] == "Unreachable"
    workshop.finish()
    assert workshop.condition("Succeeded")["status"] == "True"
    assert workshop.reconcile() is not None, "it is shown when MLflow is back"
