"""What a user does with the definitions: explain, apply, apply again, mistype. The manifests of this repository: test_manifests."""

import copy
import json
from typing import Any

import pytest

from msm.api import parse_run
from tests.cluster.control_plane import Api, ControlPlane
from tests.cluster.runs import Object, deployment, full, path, small, try_create

EXPLAINED = {
    "msmruns.spec.training.midtrain.checkpointEvery": "Seconds between checkpoints",
    "msmruns.spec.corpora.synthesize.docTypes": "Document types a subdomain",
    "msmruns.spec.endpoints.openai.maxPrice": "What one stage may spend here",
    "msmruns.spec.arms.versus": "Arms that it is compared with",
    "msmruns.status.stages.last.reason": "What it is called",
    "evaldeployments.spec.gates.minEffect": "Least difference to the version served now",
    "evaldeployments.status.refused.reason": "Why, in a word",
}


@pytest.mark.parametrize(("field", "says"), EXPLAINED.items(), ids=EXPLAINED)
def test_kubectl_explains_every_depth(definitions: ControlPlane, field: str, says: str) -> None:
    assert says in " ".join(definitions.api.kubectl("explain", field).split())


def as_run(stored: Object) -> Any:
    """The run in an object of the API server."""
    metadata = {key: stored["metadata"][key] for key in ("name", "namespace")}
    return parse_run({"apiVersion": stored["apiVersion"], "kind": stored["kind"], "metadata": metadata, "spec": stored["spec"]})


def test_defaults_are_the_models_and_change_no_run(definitions: ControlPlane, api: Api, namespace: str) -> None:
    for one in (small("small", namespace), full("full", namespace)):
        stored = try_create(api, one).body
        assert as_run(stored) == parse_run(one)
        assert stored["spec"]["training"]["finetune"]["learningRate"] == 1e-4
        assert "evals" not in small("small", namespace)["spec"]


def test_applied_twice_nothing_changes(definitions: ControlPlane, api: Api, namespace: str) -> None:
    for one in (full("run", namespace), deployment("deployment", namespace)):
        first, second = (api.apply(path(one), one, fieldValidation="Strict") for _ in range(2))
        assert first.status == 201, first.message
        assert second.body["metadata"]["resourceVersion"] == first.body["metadata"]["resourceVersion"]
        assert second.body["metadata"]["generation"] == 1


def mistyped(namespace: str) -> Object:
    one = full("mistyped", namespace)
    one["spec"]["training"]["midtrain"]["learningrate"] = 1
    return one


def test_a_typo_is_an_error_where_validation_is_strict(definitions: ControlPlane, api: Api, namespace: str) -> None:
    done = api.kubectl_result("apply", "--validate=strict", "-f", "-", stdin=json.dumps(mistyped(namespace)))
    assert done.returncode != 0
    assert 'unknown field "spec.training.midtrain.learningrate"' in done.stderr


def test_a_typo_is_a_warning_elsewhere_and_is_not_kept(definitions: ControlPlane, api: Api, namespace: str) -> None:
    reply = try_create(api, mistyped(namespace), fieldValidation="Warn")
    assert reply.status == 201
    assert ['unknown field \\"spec.training.midtrain.learningrate\\"' in warning for warning in reply.warnings] == [True]
    assert "learningrate" not in reply.body["spec"]["training"]["midtrain"]


def test_a_pod_template_is_kept_as_it_is(definitions: ControlPlane, api: Api, namespace: str) -> None:
    assert try_create(api, full("run", namespace)).body["spec"]["training"]["midtrain"]["podTemplate"] == {
        "spec": {"nodeSelector": {"gpu": "yes"}}
    }


STATUS: Object = {
    "observedGeneration": 1,
    "run": "0c7d",
    "plan": {"digest": "sha256:ab", "total": 9, "done": 4, "reused": 2, "arms": 2},
    "progress": {"percentage": 42, "estimatedRemainingSeconds": 3900, "remaining": "1h5m"},
    "stage": "midtrain",
    "stages": [
        {
            "name": "midtrain msm-aft seed 0",
            "kind": "midtrain",
            "fingerprint": "0123456789abcdef",
            "state": "Retrying",
            "reason": "Retrying",
            "nextRetry": "2026-01-01T00:00:00Z",
            "attempts": 2,
            "faults": 1,
            "spentSeconds": 12.5,
            "last": {"ending": "fault", "reason": "OutOfMemory", "message": "killed", "time": "2026-01-01T00:00:00Z"},
        }
    ],
    "results": {"values.america": {"effect": 0.2}},
    "conditions": [
        {
            "type": "Succeeded",
            "status": "Unknown",
            "reason": "StagesRunning",
            "message": "",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ],
}


def with_status(api: Api, one: Object, status: Object) -> Object:
    assert api.apply(path(one), one).status in (200, 201)
    return apply_status(api, one, status)


def apply_status(api: Api, one: Object, status: Object) -> Object:
    bare = {key: one[key] for key in ("apiVersion", "kind")} | {"metadata": {"name": one["metadata"]["name"]}, "status": status}
    reply = api.apply(path(one, "status"), bare, manager="operator")
    assert reply.status == 200, reply.message
    return reply.body


def test_the_columns_say_where_a_run_is(definitions: ControlPlane, api: Api, namespace: str) -> None:
    with_status(api, full("run", namespace), STATUS)
    lines = api.kubectl("get", "msm", "-n", namespace).splitlines()
    assert lines[0].split() == ["NAME", "STAGE", "PROGRESS", "ETA", "SUCCEEDED", "REASON", "AGE"]
    assert lines[1].split()[:6] == ["run", "midtrain", "42", "1h5m", "Unknown", "StagesRunning"]
    wide = api.kubectl("get", "msm", "-n", namespace, "-o", "wide").splitlines()
    assert wide[0].split() == ["NAME", "STAGE", "PROGRESS", "ETA", "SUCCEEDED", "REASON", "MODEL", "ARMS", "REUSED", "AGE"]
    assert wide[1].split()[6:9] == ["hf://org/base", "2", "2"]
    assert "msmrun.modelspec.dev/run" in api.kubectl("get", "modelspec", "-n", namespace, "-o", "name")


def test_a_status_that_was_applied_is_kept_whole_and_the_same_again_changes_nothing(
    definitions: ControlPlane, api: Api, namespace: str
) -> None:
    first = with_status(api, full("run", namespace), STATUS)
    assert first["status"] == STATUS
    assert first["metadata"]["generation"] == 1
    second = apply_status(api, full("run", namespace), STATUS)
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_kubectl_waits_for_success(definitions: ControlPlane, api: Api, namespace: str) -> None:
    status = copy.deepcopy(STATUS)
    status["conditions"][0] |= {"status": "True", "reason": "AllCommitted"}
    with_status(api, full("run", namespace), status)
    assert "condition met" in api.kubectl("wait", "--for=condition=Succeeded", "msmrun/run", "-n", namespace, "--timeout=10s")


def test_a_user_cannot_write_the_status_with_the_spec(definitions: ControlPlane, api: Api, namespace: str) -> None:
    one = full("run", namespace) | {"status": STATUS}
    assert "status" not in api.apply(path(one), one).body


def test_five_hundred_stages_fit_into_a_status(definitions: ControlPlane, api: Api, namespace: str) -> None:
    row = STATUS["stages"][0] | {"message": "m" * 60, "startTime": "2026-01-01T00:00:00Z", "tryAgains": 3, "step": 9}
    status = STATUS | {"stages": [row | {"fingerprint": f"{number:016x}"} for number in range(500)]}
    stored = with_status(api, full("run", namespace), status)
    assert len(stored["status"]["stages"]) == 500
    assert len(json.dumps(stored, separators=(",", ":"))) < 256 * 1024
