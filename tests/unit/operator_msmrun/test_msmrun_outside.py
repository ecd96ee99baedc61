"""Deletion, time to live, and things outside that are down or missing, through the controller's only door."""

from typing import Any

import pytest

from msm_operator.runtime.resources import JOBS, MSMRUNS
from msm_operator.runtime.seams import Key
from tests.unit.operator_msmrun.cluster import CHAIN, NAMESPACE, Workshop, msm_run


def test_deletion_with_policy_delete_takes_the_records_and_no_artifact(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN, execution={"deletionPolicy": "Delete"}))
    workshop.finish()
    documents, stage = workshop.documents(), workshop.plan.stages[0]
    workshop.cluster.remove(MSMRUNS, Key(NAMESPACE, "example"))
    assert workshop.run_object()["metadata"]["finalizers"]
    workshop.reconcile()
    assert not workshop.run_object()["metadata"].get("finalizers")
    assert not list(workshop.store.list(f"runs/{documents.id}/"))
    assert list(workshop.store.list(f"{stage.kind}/{stage.fingerprint}/"))


def test_a_run_that_is_deleted_while_it_is_being_accepted_leaves_no_records(workshop: Workshop) -> None:
    workshop.submit(msm_run(execution={"deletionPolicy": "Delete"}))
    workshop.cluster.refuse["MSMRun"] = RuntimeError("killed here")
    with pytest.raises(RuntimeError):
        workshop.reconcile()
    assert not list(workshop.store.list("runs/")), "nothing is kept before the finalizer holds the run"
    del workshop.cluster.refuse["MSMRun"]
    workshop.reconcile()
    workshop.cluster.remove(MSMRUNS, Key(NAMESPACE, "example"))
    workshop.reconciler = workshop.make()
    workshop.reconcile()
    assert not list(workshop.store.list("runs/"))


def test_a_deletion_does_not_wait_for_ever_for_a_store_that_is_gone(workshop: Workshop) -> None:
    from msm.errors import TryAgain

    def dead(config: object) -> Any:
        raise TryAgain("no answer")

    workshop.submit(msm_run(execution={"deletionPolicy": "Delete"}))
    workshop.reconcile()
    workshop.cluster.remove(MSMRUNS, Key(NAMESPACE, "example"))
    workshop.opener = dead  # type: ignore[assignment]
    workshop.reconciler = workshop.make()
    assert workshop.reconcile() is not None
    workshop.clock(400)
    assert workshop.reconcile() is None
    assert not workshop.run_object()["metadata"].get("finalizers")
    assert workshop.cluster.events[-1][1] == "RecordsLeft"


def test_a_run_without_that_policy_has_no_finalizer(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN))
    workshop.finish()
    assert not workshop.run_object()["metadata"].get("finalizers")


def test_a_finished_run_goes_when_its_time_has_come(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN, ttlSecondsAfterFinished=60))
    workshop.finish()
    delay = workshop.reconcile()
    assert delay is not None and 50 < delay.total_seconds() <= 60
    workshop.clock(61)
    workshop.reconcile()
    assert not workshop.cluster.of(MSMRUNS)
    assert not workshop.cluster.of(JOBS)


def test_a_store_that_is_down_is_a_condition_and_nothing_fails(workshop: Workshop) -> None:
    from msm.errors import TryAgain

    def dead(config: object) -> Any:
        raise TryAgain("no answer from s3")

    workshop.submit(msm_run(**CHAIN))
    workshop.reconcile()
    (job,) = workshop.jobs()
    opened = workshop.opener
    workshop.opener = dead  # type: ignore[assignment]
    workshop.reconciler = workshop.make()
    workshop.do(job)
    before = workshop.status()
    assert workshop.reconcile() is not None
    available = workshop.condition("StoreAvailable")
    assert (available["status"], available["reason"], available["message"]) == ("False", "Unreachable", "no answer from s3")
    assert {**workshop.status(), "conditions": 0} == {**before, "conditions": 0}, "everything else stays as it was said"
    workshop.opener = opened
    workshop.clock(10)
    workshop.reconcile()
    assert workshop.condition("StoreAvailable")["status"] == "True"
    workshop.finish()


def test_a_cluster_without_the_training_operator_waits_and_says_so(workshop: Workshop) -> None:
    workshop.training = False
    workshop.submit(msm_run(execution={"parallelism": 4}))
    for _ in range(12):
        workshop.clock(1)
        workshop.reconcile()
        for job in workshop.jobs():
            workshop.do(job)
    assert workshop.condition("TrainingAvailable")["status"] == "False"
    assert workshop.condition("Failed")["status"] == "False"
    assert any(row["reason"] == "NotInstalled" for row in workshop.status()["stages"])
    workshop.training = True
    workshop.finish()


def test_another_run_at_work_on_the_same_stage_is_followed(workshop: Workshop) -> None:
    from msm.store.artifacts import begin_attempt
    from msm.store.progress import Progress

    workshop.submit(msm_run(suspend=True))
    workshop.reconcile()
    stage = workshop.plan.stages[0]
    other = begin_attempt(workshop.store, stage.kind, stage.fingerprint, workshop.clock)
    other.write_progress(Progress(attempt=other.id, heartbeat=workshop.clock.now()))
    workshop.change(suspend=False)
    workshop.reconcile()
    assert workshop.status()["stages"][0]["state"] == "following"
    assert not workshop.jobs()
    workshop.clock(20)
    workshop.reconcile()
    assert len(workshop.jobs()) == 1, "it fell silent"


def test_an_input_that_does_not_answer_is_asked_again_and_said_once(workshop: Workshop) -> None:
    from msm.errors import TryAgain

    def silent(prefix: str) -> Any:
        raise TryAgain("s3://inputs does not answer")

    workshop.bucket.list = silent  # type: ignore[method-assign]
    workshop.submit(msm_run(**CHAIN))
    for _ in range(4):
        workshop.reconcile()
        workshop.clock(10)
    accepted = workshop.condition("Accepted")
    assert (accepted["status"], accepted["reason"], accepted["message"]) == ("Unknown", "InputUnavailable", "s3://inputs does not answer")
    assert len(workshop.cluster.writes) == 1
    del workshop.bucket.list  # type: ignore[method-assign]
    workshop.reconcile()
    workshop.clock(3)
    workshop.reconcile()
    assert workshop.condition("Accepted")["status"] == "True"
