"""Whose credential goes where: a run's own store and certificate, and what no run can have sent to a server of its own."""

import base64
from pathlib import Path
from typing import Any

import pytest

from msm.store import StoreConfig
from msm_operator.controllers.showing import config_of, tracking_condition
from msm_operator.controllers.tracking import Tracker
from msm_operator.runtime.resources import SECRETS
from tests.unit.operator_msmrun.cluster import NAMESPACE, FakeClock, Workshop, msm_run
from tests.unit.operator_msmrun.test_rendering import body as body_of
from tests.unit.operator_msmrun.test_rendering import documents, env, pod

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
OWN = {"uri": "s3://mine/place", "endpoint": "https://minio:9000"}
WITH_CA = {**OWN, "secretRef": {"name": "mine", "key": "x"}, "caSecretRef": {"name": "authority", "key": "root.pem"}}


def secret(workshop: Workshop, name: str, **data: str) -> None:
    encoded = {key.replace("_pem", ".pem"): base64.b64encode(value.encode()).decode() for key, value in data.items()}
    workshop.cluster.put(SECRETS, {"metadata": {"name": name, "namespace": NAMESPACE}, "data": encoded})


def own_store(tmp_path: Path, **storage: Any) -> tuple[Workshop, list[StoreConfig]]:
    """A namespaced installation, a run with a store of its own, and which stores are opened for it."""
    workshop, opened = Workshop(tmp_path, namespaced=True), list[StoreConfig]()
    plain = workshop.opener
    workshop.opener = lambda config: opened.append(config) or plain(workshop.config)  # type: ignore[func-returns-value,assignment]
    workshop.submit(msm_run(storage=storage))
    return workshop, opened


def test_a_stores_own_certificate_is_used_by_the_operator_and_mounted_into_pods(tmp_path: Path) -> None:
    workshop, opened = own_store(tmp_path, **WITH_CA)
    secret(workshop, "mine", AWS_ACCESS_KEY_ID="me", AWS_SECRET_ACCESS_KEY="hush")
    secret(workshop, "authority", root_pem=PEM)
    workshop.reconcile()
    assert workshop.condition("Accepted")["status"] == "True"
    file = opened[-1].ca_file
    assert file is not None and file.read_text() == PEM
    (job,) = workshop.jobs()
    mounted = {m["name"]: m["mountPath"] for m in job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
    (volume,) = (v for v in pod(job)["volumes"] if v["name"] == "ca")
    assert volume["secret"] == {"secretName": "authority", "items": [{"key": "root.pem", "path": "ca.crt"}]}
    assert env(job)["MSM_STORE_CA_FILE"] == f"{mounted['ca']}/ca.crt"


WRONG: dict[str, tuple[dict[str, str] | None, str]] = {
    "there is no such Secret": (None, "there is no Secret authority"),
    "its key is another": ({"other": PEM}, "key root.pem of Secret authority is not there"),
    "it holds something else": ({"root_pem": "hush"}, "is no PEM certificate"),
}


@pytest.mark.parametrize(("data", "said"), WRONG.values(), ids=WRONG)
def test_a_certificate_that_is_none_is_said_and_not_shown(tmp_path: Path, data: dict[str, str] | None, said: str) -> None:
    workshop, _ = own_store(tmp_path, **WITH_CA)
    secret(workshop, "mine", AWS_ACCESS_KEY_ID="me", AWS_SECRET_ACCESS_KEY="hush")
    if data is not None:
        secret(workshop, "authority", **data)
    workshop.reconcile()
    message = workshop.condition("Accepted")["message"]
    assert said in message and "spec.storage.caSecretRef" in message and "hush" not in message


def test_in_an_installation_for_all_namespaces_no_run_brings_a_certificate(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    workshop.submit(msm_run(storage={"uri": f"{workshop.config.uri}/below", "caSecretRef": {"name": "authority", "key": "root.pem"}}))
    workshop.reconcile()
    assert "does not read" in workshop.condition("Accepted")["message"]


def test_the_installations_credential_and_certificate_go_to_no_server_of_a_runs_own(tmp_path: Path) -> None:
    """Without a secret of its own such a run has none, rather than the installation's."""
    from msm_operator.backends.installation import Installation
    from msm_operator.controllers.credentials import access

    installation = Installation(image="x", store=StoreConfig("s3://ours"), ca_config_map="authority", namespaced=True)
    ours = documents(tmp_path, config=StoreConfig("s3://ours/team"), storage={"uri": "s3://ours/team"})
    own = documents(tmp_path, config=StoreConfig("s3://mine/place"), storage=OWN)
    assert access(ours.run, ours.config, installation).secret == "msm-store"
    assert access(ours.run, ours.config, installation).authority == {"configMap": {"name": "authority"}}
    assert access(own.run, own.config, installation).secret is None
    assert access(own.run, own.config, installation).authority is None
    assert "envFrom" not in pod(body_of(own, "fetch"))["containers"][0]


SERVERS: dict[str, tuple[dict[str, Any], bool, str]] = {
    "the installation's server may be named": ({"uri": "http://mlflow:5000/"}, True, ""),
    "another would be shown the credential": ({"uri": "http://other:5000"}, True, "would be shown its credential"),
    "another where there is no credential": ({"uri": "http://other:5000"}, False, ""),
    "a credential of the run's own is not read": ({"secretRef": {"name": "mine", "key": "x"}}, False, "is not read in a cluster"),
}


@pytest.mark.parametrize(("tracking", "has_credential", "said"), SERVERS.values(), ids=SERVERS)
def test_mlflows_credential_is_shown_to_the_installations_server_alone(
    tmp_path: Path, tracking: dict[str, Any], has_credential: bool, said: str
) -> None:
    from msm_operator.backends.installation import Installation

    installation = Installation(image="x", tracking_uri="http://mlflow:5000", has_tracking_credential=has_credential)
    found = documents(tmp_path, tracking=tracking)
    config = config_of(found, installation)
    condition = tracking_condition({}, found, installation, config, Tracker(FakeClock(), lambda key: None, {}))
    assert (config is None) == bool(said)
    assert (said in condition.message and condition.reason == "Refused") if condition is not None else not said
