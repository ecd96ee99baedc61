"""A model that the hub shows to the right token alone: the operator has none, so a pod of the run resolves it."""

import json
from pathlib import Path
from typing import Any

import pytest

from msm.errors import UserError
from msm.local.resolving import RUN_ID, AskedRun, resolve_for_cluster
from msm.resolve.addresses import Hf
from msm.resolve.clients import Clients
from msm.resolve.hub import NotReadable
from msm.store import open_store
from msm.store.blobs import put_blob
from msm_operator.runtime.resources import JOBS
from tests.unit.operator_msmrun.cluster import CHAIN, Workshop, msm_run
from tests.unit.operator_msmrun.test_rendering import env, pod

PRIVATE: dict[str, Any] = {**CHAIN, "baseModel": {"uri": "hf://org/private", "identity": {"model": "Base", "provider": "Org"}}}


class Hub:
    """A fake hub with one private repository."""

    def __init__(self, token: bool) -> None:
        self.token, self.asked = token, 0

    def commit(self, address: Hf, field: str) -> str:
        self.asked += 1
        if not self.token:
            raise NotReadable(field, f"the hub has no repository {address.repo!r}, or HF_TOKEN may not read it", "check name and token")
        return "c" * 40

    def file(self, address: Hf, field: str, cache: Path) -> Path:
        raise AssertionError("no file is asked for")

    def snapshot(self, address: Hf, field: str, cache: Path, patterns: tuple[str, ...]) -> Path:
        raise AssertionError("nothing is downloaded")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    found = Workshop(tmp_path, hub_secret="hub")
    found.hub = Hub(token=False)
    found.submit(msm_run(**PRIVATE))
    return found


def resolving(workshop: Workshop) -> dict[str, Any]:
    (job,) = [j for j in workshop.jobs() if j["metadata"]["labels"]["modelspec.dev/stage"] == "resolve"]
    return job


def resolve(workshop: Workshop, job: dict[str, Any]) -> None:
    """What the pod does, with the token."""
    store, id_ = open_store(workshop.config), env(job)[RUN_ID]
    asked = AskedRun.model_validate_json(store.get(f"runs/{id_}/asked.json"))
    clients = Clients(workshop.directory / "pod", hub=Hub(token=True), bucket=lambda name: workshop.bucket)
    found = resolve_for_cluster(asked.run, clients, lambda data: put_blob(store, data), asked.precision)
    store.put_if_absent(f"runs/{id_}/resolution.json", found.model_dump_json(by_alias=True).encode())


def test_a_pod_with_the_token_resolves_what_the_operator_may_not_read(workshop: Workshop) -> None:
    workshop.reconcile()
    job = resolving(workshop)
    assert env(job)["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert pod(job)["containers"][0]["command"] == ["python", "-m", "msm.local.resolving"]
    assert pod(job)["automountServiceAccountToken"] is False and pod(job)["securityContext"]["runAsNonRoot"] is True
    asked = workshop.hub.asked  # type: ignore[union-attr]
    for _ in range(3):
        workshop.clock(5)
        workshop.reconcile()
    assert workshop.hub.asked == asked, "the hub is not asked again while the pod is at work"  # type: ignore[union-attr]
    resolve(workshop, job)
    workshop.end(job)
    workshop.reconcile()
    assert workshop.condition("Accepted")["status"] == "True"
    assert workshop.plan.resolution.identity("baseModel") == f"hf:org/private@{'c' * 40}"
    workshop.finish()
    assert workshop.condition("Succeeded")["status"] == "True"


def test_an_operator_that_starts_anew_meanwhile_makes_no_second_pod(workshop: Workshop) -> None:
    workshop.reconcile()
    job = resolving(workshop)
    workshop.reconciler = workshop.make()
    workshop.reconcile()
    assert resolving(workshop)["metadata"]["uid"] == job["metadata"]["uid"]
    resolve(workshop, job)
    workshop.end(job)
    workshop.reconciler = workshop.make()
    workshop.reconcile()
    assert workshop.condition("Accepted")["status"] == "True"


def test_what_the_pod_finds_wrong_is_said_by_field_and_looked_at_again_later(workshop: Workshop) -> None:
    workshop.reconcile()
    record = {"exitCode": 2, "reason": "InvalidInput", "message": "spec.baseModel.uri: the hub has no repository 'org/private'; check it"}
    workshop.end(resolving(workshop), 2, message=json.dumps(record))
    workshop.clock(1)
    workshop.reconcile()
    said = workshop.condition("Accepted")
    assert (said["status"], said["reason"]) == ("False", "InvalidSpec")
    assert said["message"].startswith("spec.baseModel.uri: the hub has no repository")
    writes = len(workshop.cluster.writes)
    workshop.clock(2)
    workshop.reconcile()
    assert len(workshop.cluster.writes) == writes
    workshop.clock(60)
    workshop.reconcile()
    assert resolving(workshop)["metadata"]["labels"]["modelspec.dev/attempt"] == "2"


def test_a_pod_that_cannot_start_or_gets_no_answer_is_waited_for(workshop: Workshop) -> None:
    workshop.reconcile()
    waiting = {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "hub" not found'}}}
    workshop.pod(resolving(workshop), "Pending", containerStatuses=[{"name": "pytorch", "image": "x", **waiting}])
    workshop.reconcile()
    said = workshop.condition("Accepted")
    assert (said["status"], said["reason"]) == ("Unknown", "InputUnavailable") and 'secret "hub" not found' in said["message"]
    workshop.end(resolving(workshop), 75, message=json.dumps({"message": "the hub did not answer"}))
    workshop.reconcile()
    assert "the hub did not answer" in workshop.condition("Accepted")["message"]
    workshop.clock(16)
    workshop.reconcile()
    assert resolving(workshop)["metadata"]["labels"]["modelspec.dev/attempt"] == "2"


def test_a_suspended_run_starts_no_pod_until_it_is_resumed(workshop: Workshop) -> None:
    workshop.change(suspend=True)
    workshop.reconcile()
    workshop.reconcile()
    assert not workshop.cluster.of(JOBS)
    workshop.change(suspend=False)
    workshop.reconcile()
    assert resolving(workshop)


def test_an_installation_without_a_token_says_so_at_once(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    workshop.hub = Hub(token=False)
    workshop.submit(msm_run(**PRIVATE))
    workshop.reconcile()
    assert "spec.baseModel.uri" in workshop.condition("Accepted")["message"]
    assert not workshop.cluster.of(JOBS)
    assert issubclass(NotReadable, UserError)
