"""MSMRuns on a real control plane with the training operator: from `kubectl apply` to the condition that one waits for."""

import json

import pytest

from msm.local.records import load_results
from tests.cluster.test_msmrun.installation import TINY, Installation

Room = tuple[Installation, str]


def test_a_run_ends_with_the_condition_that_kubectl_waits_for(room: Room) -> None:
    operator, namespace = room
    operator.submit(namespace, execution={"parallelism": 3})
    operator.work_until(namespace, lambda: operator.condition(namespace, "Succeeded").get("status") == "True")
    operator.plane.api.kubectl("wait", "--for=condition=Succeeded", "msmrun/example", "-n", namespace, "--timeout=5s")
    status = operator.get(namespace)["status"]
    assert status["plan"]["done"] == status["plan"]["total"]
    documents = operator.documents(namespace)
    results = load_results(documents.store, documents.id)
    assert results is not None and results.effects
    jobs = operator.plane.api.request("GET", f"/apis/kubeflow.org/v1/namespaces/{namespace}/pytorchjobs").body["items"]
    assert {j["metadata"]["labels"]["modelspec.dev/attempt"] for j in jobs} == {"1"}
    assert len(jobs) == sum(s.kind in ("midtrain", "finetune") for s in documents.plan.stages)
    reasons = [reason for reason, _ in operator.events(namespace)]
    assert "Planned" in reasons and "AllCommitted" in reasons
    assert operator.plane.api.kubectl("get", "msmrun", "-n", namespace).splitlines()[1].split()[0] == "example"


CASES = {
    "a fault is counted and retried": ({"exit_code": "1", "message": "Traceback\\nValueError: x"}, "Fault", 1),
    "an out-of-memory kill is counted": ({"exit_code": "137", "reason": "OOMKilled"}, "OutOfMemory", 1),
    "a preemption is not counted": ({"exit_code": "143"}, "Preempted", 0),
    "try again is not counted as a fault": ({"exit_code": "75", "message": json.dumps({"message": "no answer"})}, "TryAgain", 0),
    "an end without a commit is counted": ({"exit_code": "0"}, "CommitMissing", 1),
}


@pytest.mark.parametrize(("marks", "reason", "faults"), CASES.values(), ids=CASES)
def test_how_a_pod_ends_says_whose_move_it_is(room: Room, marks: dict[str, str], reason: str, faults: int) -> None:
    operator, namespace = room
    operator.submit(namespace, **TINY)
    (pod,) = operator.until(lambda: operator.pods(namespace))
    operator.annotate(pod, **marks)
    row = operator.until(lambda: next((r for r in operator.get(namespace)["status"].get("stages", ()) if r.get("last")), None))
    assert row["last"]["reason"] == reason
    assert row.get("faults", 0) == faults
    operator.work_until(namespace, lambda: operator.condition(namespace, "Succeeded").get("status") == "True")


def test_the_users_mistake_ends_the_run_with_its_message(room: Room) -> None:
    operator, namespace = room
    operator.submit(namespace, **TINY)
    (pod,) = operator.until(lambda: operator.pods(namespace))
    operator.annotate(pod, exit_code="2", message=json.dumps({"exitCode": 2, "reason": "InvalidInput", "message": "model: no template"}))
    operator.until(lambda: operator.condition(namespace, "Failed").get("status") == "True")
    assert "model: no template" in operator.condition(namespace, "Failed")["message"]


def test_a_training_pod_that_is_deleted_is_made_anew_in_a_new_job(room: Room) -> None:
    operator, namespace = room
    operator.submit(namespace, execution={"parallelism": 8})

    def training() -> list[dict[str, object]]:
        return [p for p in operator.pods(namespace) if p["metadata"]["labels"]["modelspec.dev/stage-kind"] == "finetune"]

    def others_done() -> bool:
        for pod in operator.pods(namespace):
            if pod["metadata"]["labels"]["modelspec.dev/stage-kind"] != "finetune":
                operator.work(namespace)
                return False
        return bool(training())

    operator.until(others_done, 120)
    pod = training()[0]
    operator.plane.api.kubectl("delete", "pod", pod["metadata"]["name"], "-n", namespace, "--wait=false")  # type: ignore[index]
    operator.until(lambda: any(p["metadata"]["labels"]["modelspec.dev/attempt"] == "2" for p in training()), 90)  # type: ignore[index]
    rows = [r for r in operator.get(namespace)["status"]["stages"] if r.get("last")]
    assert rows[0]["last"]["reason"] in ("PodDeleted", "Preempted")
    assert "faults" not in rows[0]
    operator.work_until(namespace, lambda: operator.condition(namespace, "Succeeded").get("status") == "True")


def test_suspending_stops_the_pods_and_resuming_goes_on(room: Room) -> None:
    operator, namespace = room
    operator.submit(namespace, **TINY)
    operator.until(lambda: operator.pods(namespace))
    operator.change(namespace, suspend=True)
    operator.until(lambda: operator.condition(namespace, "Suspended").get("status") == "True")
    operator.until(lambda: not operator.pods(namespace))
    operator.change(namespace, suspend=False)
    operator.work_until(namespace, lambda: operator.condition(namespace, "Succeeded").get("status") == "True")
    assert operator.condition(namespace, "Suspended")["status"] == "False"


def test_deleting_a_run_takes_its_jobs_and_its_records_where_that_was_asked(room: Room) -> None:
    operator, namespace = room
    operator.submit(namespace, **TINY, execution={"deletionPolicy": "Delete"})
    operator.until(lambda: operator.pods(namespace))
    id_, store = operator.documents(namespace).id, operator.store
    operator.plane.api.kubectl("delete", "msmrun", "example", "-n", namespace, "--timeout=30s")
    assert not list(store.list(f"runs/{id_}/"))
    operator.until(lambda: not operator.plane.api.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs").body["items"])


def test_a_refused_run_says_which_field(room: Room) -> None:
    operator, namespace = room
    operator.submit(namespace, evals=[{"name": "values", "items": {"source": {"uri": "s3://inputs/none.jsonl"}}}])
    operator.until(lambda: operator.condition(namespace, "Accepted").get("status") == "False")
    assert "spec.evals.values.items.source" in operator.condition(namespace, "Accepted")["message"]
