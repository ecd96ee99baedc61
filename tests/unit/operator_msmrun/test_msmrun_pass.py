"""A run from submission to its end, through the controller's only door."""

from typing import Any

import pytest

from msm.local.records import load_results, load_status
from msm_operator.runtime.resources import JOBS, LOCAL_QUEUES, PYTORCHJOBS
from msm_operator.runtime.seams import Key
from tests.unit.operator_msmrun.cluster import CHAIN, NAMESPACE, Workshop, local_queue, msm_run


def test_a_run_is_accepted_its_plan_frozen_and_its_first_stage_started(workshop: Workshop) -> None:
    workshop.submit(msm_run())
    workshop.reconcile()
    status = workshop.status()
    assert workshop.condition("Accepted")["status"] == "True"
    assert status["plan"]["digest"] == workshop.plan.digest
    assert status["plan"]["total"] == len(workshop.plan.stages)
    assert len(workshop.jobs()) == 1, "parallelism is 1"
    assert status["stages"][0]["active"] == 1


def test_a_run_whose_stages_all_commit_succeeds_with_results_where_every_command_finds_them(workshop: Workshop) -> None:
    workshop.submit(msm_run())
    workshop.finish()
    assert workshop.condition("Succeeded") | {"lastTransitionTime": ""} == {
        "type": "Succeeded",
        "status": "True",
        "observedGeneration": 1,
        "lastTransitionTime": "",
        "reason": "AllCommitted",
        "message": "everything is committed",
    }
    documents = workshop.documents()
    results, kept = load_results(workshop.store, documents.id), load_status(workshop.store, documents.id)
    assert results is not None and results.effects
    assert kept is not None and kept.phase == "Succeeded"
    assert workshop.status()["results"]["effects"]
    assert workshop.status()["progress"]["percentage"] == 100
    assert "stages" not in workshop.status(), "finished stages are counts"
    assert {j["kind"] for j in workshop.cluster.of(PYTORCHJOBS)} == {"PyTorchJob"}
    assert [n for _, n in workshop.attempts()] == [1] * len(workshop.attempts())


def test_a_pass_over_an_unchanged_run_writes_nothing(workshop: Workshop) -> None:
    workshop.submit(msm_run())
    workshop.reconcile()
    workshop.pod(workshop.jobs()[0])
    workshop.reconcile()
    writes = len(workshop.cluster.writes)
    for _ in range(5):
        workshop.clock(12)
        workshop.reconcile()
    assert len(workshop.cluster.writes) == writes


def test_a_stage_transition_costs_at_most_three_writes(workshop: Workshop) -> None:
    workshop.submit(msm_run())
    workshop.finish()
    transitions = len(workshop.plan.stages)
    assert len(workshop.cluster.writes) <= 3 * transitions


def test_a_finished_run_that_is_looked_at_again_writes_nothing(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN))
    workshop.finish()
    writes = len(workshop.cluster.writes)
    workshop.reconciler = workshop.make()
    assert workshop.reconcile() is None
    assert len(workshop.cluster.writes) == writes


def test_parallelism_bounds_the_stages_at_work(workshop: Workshop) -> None:
    workshop.submit(msm_run(execution={"parallelism": 3}))
    for _ in range(5):
        workshop.reconcile()
        assert 1 <= len(workshop.jobs()) <= 3
        for job in workshop.jobs():
            workshop.do(job)
        workshop.clock(1)


def test_a_second_run_with_the_same_inputs_starts_nothing(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN))
    workshop.finish()
    before = len(workshop.attempts())
    workshop.submit(msm_run(name="again", **CHAIN))
    workshop.reconcile("again")
    assert workshop.condition("Succeeded", "again")["status"] == "True"
    assert len(workshop.attempts()) == before
    counts = workshop.status("again")["plan"]
    assert counts["reused"] == counts["done"] == counts["total"]


def test_a_controller_that_restarts_at_any_moment_goes_on_and_starts_nothing_twice(workshop: Workshop) -> None:
    workshop.submit(msm_run())
    for _ in range(60):
        workshop.clock(1)
        workshop.reconciler = workshop.make()
        workshop.reconcile()
        if workshop.condition("Succeeded").get("status") == "True":
            break
        for job in workshop.jobs():
            workshop.do(job)
    assert workshop.condition("Succeeded")["status"] == "True"
    made = [name for verb, kind, name in workshop.cluster.writes if verb == "apply" and kind in ("Job", "PyTorchJob")]
    assert len(made) == len(set(made)) == len(workshop.plan.stages)


def test_a_controller_that_dies_between_making_a_job_and_saying_so_makes_it_no_second_time(workshop: Workshop) -> None:
    workshop.submit(msm_run())
    workshop.cluster.refuse["MSMRun"] = RuntimeError("killed here")
    with pytest.raises(RuntimeError):
        workshop.reconcile()
    del workshop.cluster.refuse["MSMRun"]
    workshop.reconciler = workshop.make()
    workshop.reconcile()
    workshop.reconcile()
    assert len(workshop.jobs()) == 1
    assert workshop.attempts()[0][1] == 1


def test_a_stage_whose_job_was_stopped_after_its_commit_is_no_reused_one_for_the_next_controller(workshop: Workshop) -> None:
    workshop.submit(msm_run())
    workshop.reconcile()
    (job,) = workshop.jobs()
    workshop.do(job)
    workshop.reconcile()
    assert (workshop.status()["plan"]["done"], workshop.status()["plan"]["reused"]) == (1, 0)
    workshop.cluster.remove(JOBS, Key(NAMESPACE, job["metadata"]["name"]))
    workshop.reconciler = workshop.make()
    workshop.reconcile()
    assert (workshop.status()["plan"]["done"], workshop.status()["plan"]["reused"]) == (1, 0)


def test_an_end_is_written_down_before_the_next_attempt_hides_it(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN))
    workshop.reconcile()
    (job,) = workshop.jobs()
    workshop.end(job, 1, message="ValueError: x")
    workshop.clock(3600)
    workshop.cluster.refuse["MSMRun"] = RuntimeError("killed here")
    with pytest.raises(RuntimeError):
        workshop.reconcile()
    assert not workshop.jobs()
    del workshop.cluster.refuse["MSMRun"]
    workshop.reconciler = workshop.make()
    workshop.reconcile()
    workshop.reconcile()
    assert workshop.status()["stages"][0]["faults"] == 1
    assert workshop.attempts()[-1][1] == 2


def test_a_fault_is_retried_after_a_pause_and_counted(workshop: Workshop) -> None:
    workshop.submit(msm_run(execution={"parallelism": 8}))
    workshop.reconcile()
    job = workshop.jobs()[0]
    failed = workshop.stage_of(job).name
    workshop.end(job, 1, message='{"exitCode": 1, "reason": "Fault", "message": "ValueError: x"}')
    delay = workshop.reconcile()
    row = next(row for row in workshop.status()["stages"] if row["name"] == failed)
    assert (row["state"], row["reason"], row["faults"]) == ("waiting", "Retrying", 1)
    assert row["last"]["message"] == "ValueError: x"
    assert delay is not None and delay.total_seconds() <= 5
    workshop.clock(6)
    workshop.reconcile()
    assert {(failed, 1), (failed, 2)} <= set(workshop.attempts()), "the failed one is kept for its log"


def test_what_failed_gives_its_place_to_others_until_it_is_tried_again(workshop: Workshop) -> None:
    workshop.submit(msm_run())
    workshop.reconcile()
    (job,) = workshop.jobs()
    workshop.end(job, 1, message='{"exitCode": 1, "reason": "Fault", "message": "ValueError: x"}')
    workshop.reconcile()
    assert len({name for name, _ in workshop.attempts()}) == 2


def test_the_users_mistake_in_a_stage_ends_the_run_with_its_message(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN))
    workshop.reconcile()
    (job,) = workshop.jobs()
    workshop.end(job, 2, message='{"exitCode": 2, "reason": "InvalidInput", "message": "model: no chat template"}')
    workshop.reconcile()
    failed = workshop.condition("Failed")
    assert (failed["status"], failed["reason"]) == ("True", "StagesFailed")
    assert "model: no chat template" in failed["message"]
    assert any(event[0] == "Warning" and "given up" in event[3] for event in workshop.cluster.events)


def test_faults_beyond_the_limit_give_the_stage_up(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN, execution={"retries": {"limit": 1}}))
    for _ in range(2):
        workshop.reconcile()
        (job,) = workshop.jobs()
        workshop.end(job, 1, message="Traceback\nValueError: again")
        workshop.reconcile()
        workshop.clock(30)
    assert workshop.condition("Failed")["status"] == "True"
    assert "RetriesExhausted" in workshop.condition("Failed")["message"]


def test_preemptions_are_not_counted_but_three_without_a_step_are_the_end(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN, execution={"retries": {"limit": 0}}))
    for _ in range(3):
        workshop.reconcile()
        (job,) = workshop.jobs()
        workshop.end(job, 143)
        workshop.reconcile()
        workshop.clock(15)
    assert workshop.condition("Failed")["status"] == "True"
    assert "NoProgress" in workshop.condition("Failed")["message"]


def test_a_deleted_job_is_noticed_after_a_while_and_made_anew_under_the_next_number(workshop: Workshop) -> None:
    workshop.submit(msm_run())
    workshop.reconcile()
    (job,) = workshop.jobs()
    workshop.cluster.remove(JOBS, Key(NAMESPACE, job["metadata"]["name"]))
    workshop.reconcile()
    assert not workshop.jobs(), "the cache may be behind"
    workshop.clock(11)
    workshop.reconcile()
    workshop.reconcile()
    assert [n for _, n in workshop.attempts()] == [2]
    assert "faults" not in workshop.status()["stages"][0]


def test_suspending_stops_everything_and_resuming_goes_on_under_the_next_number(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN))
    workshop.reconcile()
    workshop.pod(workshop.jobs()[0])
    workshop.change(suspend=True)
    workshop.reconcile()
    workshop.reconcile()
    assert not workshop.jobs()
    assert workshop.condition("Suspended")["status"] == "True"
    assert workshop.condition("Progressing")["status"] == "False"
    assert workshop.condition("Suspended")["observedGeneration"] == 2
    workshop.change(suspend=False)
    workshop.reconcile()
    assert [n for _, n in workshop.attempts()] == [2]
    workshop.finish()


def test_a_run_that_is_suspended_from_the_start_is_planned_and_starts_nothing(workshop: Workshop) -> None:
    workshop.submit(msm_run(suspend=True))
    workshop.reconcile()
    workshop.reconcile()
    assert workshop.condition("Accepted")["status"] == workshop.condition("Suspended")["status"] == "True"
    assert not workshop.jobs()


def test_a_stage_at_work_beyond_its_deadline_is_stopped_and_given_up(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN, execution={"deadline": "1h"}))
    workshop.reconcile()
    workshop.pod(workshop.jobs()[0])
    workshop.reconcile()
    workshop.clock(3700)
    for _ in range(3):
        workshop.reconcile()
    assert not workshop.jobs()
    assert "DeadlineExceeded" in workshop.condition("Failed")["message"]


def test_waiting_for_kueue_counts_for_no_deadline(workshop: Workshop) -> None:
    workshop.cluster.put(LOCAL_QUEUES[0], local_queue("team"))
    workshop.submit(msm_run(execution={"deadline": "1h", "queueName": "team"}))
    workshop.reconcile()
    (job,) = workshop.jobs()
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert "suspend" not in job["spec"], "Kueue's webhook sets it, and nobody else"
    workshop.cluster.put(JOBS, {**job, "spec": {**job["spec"], "suspend": True}})
    workshop.reconcile()
    assert workshop.status()["stages"][0]["reason"] == "Queued"
    workshop.clock(7200)
    workshop.reconcile()
    assert len(workshop.jobs()) == 1
    assert workshop.condition("Progressing")["reason"] == "Queued"


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a path": ({"evals": [{"name": "values", "items": {"source": {"path": "items.jsonl"}}}]}, "LocalInput", "msm submit"),
    "a file uri": ({"baseModel": {"uri": "file:///m", "identity": {"model": "a", "provider": "b"}}}, "LocalInput", "spec.baseModel.uri"),
    "an unknown corpus": ({"arms": [{"name": "x", "midtrain": ["hoem"]}]}, "InvalidSpec", 'no corpus named "hoem"'),
    "an unknown key": ({"trainning": {}}, "InvalidSpec", "spec.trainning"),
    "a foreign store": ({"storage": {"uri": "s3://other/place"}}, "InvalidSpec", "spec.storage"),
    "an input that is not there": (
        {"evals": [{"name": "values", "items": {"source": {"uri": "s3://inputs/none.jsonl"}}}]},
        "InvalidSpec",
        "spec.evals.values.items.source",
    ),
}


@pytest.mark.parametrize(("spec", "reason", "words"), CASES.values(), ids=CASES)
def test_a_run_with_a_mistake_is_refused_once_with_a_message_that_names_it(
    workshop: Workshop, spec: dict[str, Any], reason: str, words: str
) -> None:
    workshop.submit(msm_run(**spec))
    workshop.reconcile()
    accepted = workshop.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", reason)
    assert words in accepted["message"]
    writes = len(workshop.cluster.writes)
    workshop.clock(120)
    workshop.reconcile()
    assert len(workshop.cluster.writes) == writes
    assert [e[1] for e in workshop.cluster.events] == [reason]


def test_a_job_that_the_api_server_refuses_is_the_users_mistake_with_the_servers_words(workshop: Workshop) -> None:
    from msm_operator.runtime.errors import Invalid

    workshop.submit(msm_run(**CHAIN))
    workshop.cluster.refuse["Job"] = Invalid("spec.template.spec.containers[0].image: Required value", status=422)
    workshop.reconcile()
    workshop.reconcile()
    assert "Required value" in workshop.condition("Failed")["message"]


def test_what_does_not_need_a_stage_that_was_given_up_is_still_done(workshop: Workshop) -> None:
    workshop.submit(msm_run())
    workshop.reconcile()
    (job,) = workshop.jobs()
    workshop.end(job, 2, message='{"message": "no"}')
    workshop.finish()
    assert workshop.condition("Failed")["status"] == "True"
    assert workshop.status()["plan"]["done"] == 2, "the outline and the composed chats need no model"
    assert {row["state"] for row in workshop.status()["stages"]} == {"failed", "blocked"}


def test_the_reason_that_kubectl_shows_is_what_the_run_is_doing(workshop: Workshop) -> None:
    def shown() -> str:
        return str(workshop.condition("Succeeded")["reason"])

    workshop.submit(msm_run(**CHAIN))
    workshop.reconcile()
    assert shown() == "Pending"
    (job,) = workshop.jobs()
    workshop.pod(job)
    workshop.reconcile()
    assert shown() == "StagesRunning"
    workshop.change(suspend=True)
    workshop.reconcile()
    workshop.reconcile()
    assert shown() == "Suspended"
    workshop.change(suspend=False)
    workshop.finish()
    assert shown() == "AllCommitted"
    workshop.submit(msm_run("wrong", arms=[{"name": "x", "midtrain": ["hoem"]}]))
    workshop.reconcile("wrong")
    assert workshop.condition("Succeeded", "wrong")["reason"] == "InvalidSpec"


def test_a_restart_asks_the_store_nothing_about_a_run_that_its_user_has_suspended(workshop: Workshop) -> None:
    workshop.submit(msm_run(**CHAIN, suspend=True))
    workshop.reconcile()
    assert workshop.condition("Suspended")["status"] == "True"
    opened, open_ = list[Any](), workshop.opener
    workshop.opener = lambda config: opened.append(config) or open_(config)  # type: ignore[func-returns-value,assignment]
    workshop.reconciler = workshop.make()
    writes = len(workshop.cluster.writes)
    assert workshop.reconcile() is None
    assert (opened, len(workshop.cluster.writes)) == ([], writes)
    workshop.change(suspend=False)
    workshop.reconcile()
    assert workshop.jobs() and workshop.condition("Suspended")["status"] == "False"
