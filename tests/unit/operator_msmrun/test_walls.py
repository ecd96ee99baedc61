"""Network walls: what pods of a run may reach, and that nothing runs without one."""

from pathlib import Path
from typing import Any

import pytest

from msm.errors import UserError
from msm.store import StoreConfig
from msm_operator.backends.installation import installation
from msm_operator.backends.names import RUN_UID
from msm_operator.backends.walls import Inside, Outside, wall
from msm_operator.runtime.errors import Invalid
from msm_operator.runtime.resources import NETWORK_POLICIES
from tests.unit.operator_msmrun.cluster import CHAIN, Workshop, msm_run

OWN = {"podSelector": {"matchLabels": {RUN_UID: "u1"}}}
DNS = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
OPEN = Outside(egress=({"ports": [{"port": 443, "protocol": "TCP"}]},))


def egress(outside: Outside, *places: str) -> list[dict[str, Any]]:
    """What a wall lets out besides its own pods."""
    inside = Inside("w", "team", (RUN_UID, "u1"), {}, {"uid": "u1"}, frozenset(places))
    spec = wall(inside, outside)["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"] and spec["podSelector"] == OWN["podSelector"]
    assert spec["ingress"] == [{"from": [OWN]}]
    assert spec["egress"][0] == {"to": [OWN]}
    found: list[dict[str, Any]] = spec["egress"][1:]
    return found


def namespace(name: str) -> dict[str, Any]:
    return {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}]}


PLACES: dict[str, tuple[str, dict[str, Any]]] = {
    "a Service by its full name opens its namespace": ("http://seaweedfs.storage.svc.cluster.local:8333", namespace("storage")),
    "a Service by its short name too": ("http://mlflow.mlops.svc", namespace("mlops")),
    "a bare name is a Service of the own namespace": ("http://mlflow:5000", namespace("team")),
    "an address opens itself and its port": (
        "https://10.1.2.3:9000",
        {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 9000, "protocol": "TCP"}]},
    ),
    "so does one of IPv6": (
        "http://[fd00::1]:9000",
        {"to": [{"ipBlock": {"cidr": "fd00::1/128"}}], "ports": [{"port": 9000, "protocol": "TCP"}]},
    ),
    "a name outside opens its port": ("https://api.example.com/v1", {"ports": [{"port": 443, "protocol": "TCP"}]}),
    "http without a port is 80": ("http://llm.example.com/v1", {"ports": [{"port": 80, "protocol": "TCP"}]}),
}


@pytest.mark.parametrize(("url", "rule"), PLACES.values(), ids=PLACES)
def test_a_place_is_let_through(url: str, rule: dict[str, Any]) -> None:
    assert egress(Outside(), url) == [DNS, rule]


def test_nothing_but_names_is_reached_where_nothing_is_said() -> None:
    assert egress(Outside()) == [DNS]


def test_dns_can_be_narrowed_and_rules_are_added() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    assert egress(Outside(dns=(peer,), egress=OPEN.egress)) == [{"to": [peer]}, *OPEN.egress]


def test_two_addresses_in_one_namespace_are_one_rule() -> None:
    assert egress(Outside(), "http://a.team.svc", "http://b.team.svc") == [DNS, namespace("team")]


@pytest.fixture
def walled(tmp_path: Path) -> Workshop:
    workshop = Workshop(tmp_path, network=OPEN)
    workshop.submit(msm_run(**CHAIN))
    return workshop


def test_a_run_is_walled_in_before_its_first_pod_and_once(walled: Workshop) -> None:
    walled.reconcile()
    kinds = [kind for verb, kind, _ in walled.cluster.writes if verb == "apply"]
    assert kinds.index("NetworkPolicy") < kinds.index("Job")
    (policy,) = walled.cluster.of(NETWORK_POLICIES)
    job = walled.jobs()[0]
    (mark,) = policy["spec"]["podSelector"]["matchLabels"].items()
    assert mark in job["spec"]["template"]["metadata"]["labels"].items()
    assert policy["metadata"]["ownerReferences"][0]["uid"] == walled.run_object()["metadata"]["uid"]
    walled.finish()
    assert [kind for _, kind, _ in walled.cluster.writes].count("NetworkPolicy") == 1


def test_endpoints_of_the_run_and_mlflow_are_reached(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, network=Outside(), tracking_uri="http://mlflow.mlops.svc:80")
    hosted = {"name": "judge", "openai": {"baseURL": "http://llm.models.svc:8000/v1", "model": "m"}}
    workshop.submit(msm_run(**CHAIN, endpoints=[hosted]))
    workshop.reconcile()
    (policy,) = workshop.cluster.of(NETWORK_POLICIES)
    assert policy["spec"]["egress"][2:] == [namespace("models"), namespace("mlops")]


def test_a_changed_installation_changes_the_wall_of_a_live_run(walled: Workshop) -> None:
    walled.reconcile()
    walled.installation = type(walled.installation)(image="trainer:1", store=walled.config, network=Outside())
    walled.reconciler = walled.make()
    walled.finish()
    (policy,) = walled.cluster.of(NETWORK_POLICIES)
    assert len(policy["spec"]["egress"]) == 2


def test_without_a_wall_nothing_is_started_and_the_value_of_the_chart_is_named(walled: Workshop) -> None:
    walled.cluster.refuse["NetworkPolicy"] = Invalid("spec.egress[2].to[0].ipBlock.cidr: Invalid value", status=422)
    walled.reconcile()
    assert not walled.jobs()
    (row,) = [row for row in walled.status()["stages"] if row.get("reason")]
    assert (row["reason"], "networkPolicy.egress" in row["message"], "ipBlock" in row["message"]) == ("Refused", True, True)
    walled.cluster.refuse.clear()
    walled.finish()
    assert walled.condition("Succeeded")["status"] == "True"


def test_the_environment_says_what_is_let_through() -> None:
    said = installation({"MSM_STAGE_IMAGE": "x", "MSM_RUN_NETWORK": '{"dns": [], "egress": [{"ports": [{"port": 443}]}]}'})
    assert said.network == Outside(egress=({"ports": [{"port": 443}]},))
    assert installation({"MSM_STAGE_IMAGE": "x"}).network is None


@pytest.mark.parametrize("wrong", ['{"egress": {}}', '{"dns": ["kube-dns"]}', "[]", "{"])
def test_a_network_that_is_none_is_named(wrong: str) -> None:
    with pytest.raises(UserError, match="MSM_RUN_NETWORK"):
        installation({"MSM_STAGE_IMAGE": "x", "MSM_RUN_NETWORK": wrong})


def test_a_store_at_amazon_is_reached_by_its_port(tmp_path: Path) -> None:
    from msm_operator.controllers.walls import store_places

    assert store_places(StoreConfig("s3://bucket/prefix")) == {"https://s3.amazonaws.com"}
    assert store_places(StoreConfig(f"file://{tmp_path}")) == set()
