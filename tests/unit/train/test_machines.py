"""Which machine of several leads, and what torchrun is told beyond what it reads by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.errors import UserError
from msm.train.machines import CONFIGURATION, Machines, read_machines, this_machine_has

PODS = {"PET_NNODES": "2:2", "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": "job-worker-0:23456"}


def conf(machines):
    return dict(part.split("=") for part in machines.settings[CONFIGURATION].split(","))


def test_one_machine_needs_no_rendezvous_whatever_its_environment_says():
    assert read_machines(1, {**PODS, "RANK": "0", "WORLD_SIZE": "1"}) == Machines(1, leads=True)


@pytest.mark.parametrize("own", ["job-worker-0", "job-worker-1"])
def test_the_machine_that_the_endpoint_names_leads_and_torchrun_is_told_so(own):
    machines = read_machines(2, {**PODS, "RANK": "0"}, lambda host: host == own)
    assert machines.leads == (own == "job-worker-0")
    assert conf(machines)["is_host"] == str(int(machines.leads))
    assert int(conf(machines)["join_timeout"]) > 600, "images and models come at different speeds"


def test_what_the_operator_configured_stays():
    machines = read_machines(2, {**PODS, CONFIGURATION: "is_host=0, join_timeout=7"}, lambda host: True)
    assert not machines.leads
    assert conf(machines) == {"is_host": "0", "join_timeout": "7", "read_timeout": "1800"}


@given(st.integers(2, 64), st.lists(st.booleans(), min_size=2, max_size=64))
def test_torchruns_word_and_ours_agree_on_every_machine(count, ours):
    for mine in ours:
        machines = read_machines(count, {**PODS, "PET_NNODES": str(count)}, lambda host, mine=mine: mine)
        assert (conf(machines)["is_host"] == "1") == machines.leads == mine


WRONG = {
    "no number of machines": ({"PET_NNODES": None}, "PET_NNODES", "is not set; a training on several machines needs 2 or 2:2"),
    "another number": ({"PET_NNODES": "1:4"}, "PET_NNODES", 'is "1:4"'),
    "another backend": ({"PET_RDZV_BACKEND": "static"}, "PET_RDZV_BACKEND", "needs c10d"),
    "no endpoint": ({"PET_RDZV_ENDPOINT": None}, "PET_RDZV_ENDPOINT", '"" is not host:port'),
    "an endpoint without a port": ({"PET_RDZV_ENDPOINT": "job-worker-0"}, "PET_RDZV_ENDPOINT", "is not host:port"),
    "a configuration of another form": ({CONFIGURATION: "is_host"}, CONFIGURATION, '"is_host" is not key=value'),
    "neither yes nor no": ({CONFIGURATION: "is_host=maybe"}, CONFIGURATION, 'is_host is "maybe"'),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_an_environment_that_describes_no_such_rendezvous_is_refused_with_the_variable(case):
    changes, field, words = case
    environ = {key: value for key, value in {**PODS, **changes}.items() if value is not None}
    with pytest.raises(UserError) as refused:
        read_machines(2, environ, lambda host: True)
    assert refused.value.field == field
    assert words in str(refused.value)


HOSTS = {"localhost": True, "127.0.0.1": True, "::1": None, "192.0.2.7": False, "no-such-host.invalid": False}


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_is_this_machine_when_its_address_is_one_of_ours(host):
    found = this_machine_has(host)
    assert found is HOSTS[host] or HOSTS[host] is None


def test_an_address_in_brackets_is_an_address():
    assert read_machines(2, {**PODS, "PET_RDZV_ENDPOINT": "[fd00::7]:29400"}, lambda host: host == "fd00::7").leads
