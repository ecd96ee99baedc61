"""What a kind of object must answer to run attempts: a TrainJob of Kubeflow Trainer v2 as a third one, which no release has yet."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from msm_operator.backends import jobs
from msm_operator.backends.backend import Backend
from msm_operator.backends.children import Child, Phase, read_child
from msm_operator.backends.names import ATTEMPT, STAGE
from msm_operator.runtime.resources import Resource
from msm_operator.status.reasons import Reason

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class TrainJob:
    """As the API of trainer.kubeflow.org/v1alpha1 has it."""

    resource = Resource("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob")
    ends = ("Complete", "Failed")
    silence = "the trainer has not taken up the job"

    def spec(self, app: Any, template: Mapping[str, Any]) -> dict[str, Any]:
        (role,) = app.roles
        (container,) = template["spec"]["containers"]
        trainer = {key: container[key] for key in ("image", "command", "env")} | {"numNodes": role.num_replicas}
        return {"runtimeRef": {"name": "torch-distributed"}, "trainer": trainer}

    def is_held(self, obj: Mapping[str, Any]) -> bool:
        return bool(obj.get("spec", {}).get("suspend"))


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Backend:
    found = TrainJob()
    monkeypatch.setitem(jobs.BY_KIND, "TrainJob", found)
    monkeypatch.setattr(jobs, "TRAINING", found)
    return found


def read(spec: Mapping[str, Any], conditions: list[dict[str, Any]], pods: list[dict[str, Any]], age: float = 0.0) -> Child:
    made = (NOW - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = {"name": "t", "uid": "u", "labels": {STAGE: "f" * 16, ATTEMPT: "1"}, "creationTimestamp": made}
    child = read_child({"kind": "TrainJob", "metadata": metadata, "spec": spec, "status": {"conditions": conditions}}, pods, NOW)
    assert child is not None
    return child


def test_a_stage_that_trains_is_rendered_by_it(trainer: Backend) -> None:
    from torchx.specs import AppDef, Resource, Role

    resource = Resource(cpu=-1, gpu=8, memMB=-1)
    role = Role(name="midtrain", image="trainer:1", num_replicas=4, resource=resource)
    container = {"name": "pytorch", "image": "trainer:1", "command": ["python"], "env": []}
    metadata = {"name": "t", "namespace": "team", "labels": {}}
    found = jobs.body(AppDef(name="midtrain", roles=[role]), {"spec": {"containers": [container]}}, metadata, "team")
    assert (found["apiVersion"], found["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    assert found["spec"]["trainer"]["numNodes"] == 4
    assert found["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "team"}
    assert jobs.resource_of("midtrain").plural == "trainjobs"
    assert jobs.resource_of("evaluate").plural == "jobs"


@pytest.mark.usefixtures("trainer")
def test_its_objects_are_read_back_by_what_it_answers() -> None:
    said = [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-03-01T11:59:59Z"}]
    state = {"terminated": {"exitCode": 0, "finishedAt": "2026-03-01T11:59:59Z"}}
    pod = {"metadata": {"name": "p"}, "status": {"phase": "Succeeded", "containerStatuses": [{"state": state}]}}
    assert read({"suspend": True}, [], []).phase is Phase.QUEUED
    assert read({}, said, [pod]).phase is Phase.ENDED
    silent = read({}, [], [], age=61)
    assert silent.silent and silent.trouble is not None
    assert silent.trouble.reason is Reason.SILENT
    assert silent.trouble.message.startswith("no pods were made; `kubectl describe trainjob ")
    assert silent.trouble.message.endswith("where it has no events, the trainer has not taken up the job")
