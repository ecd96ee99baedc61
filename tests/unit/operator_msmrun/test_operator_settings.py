"""What a replica is told by its environment."""

import pytest

from msm.errors import UserError
from msm_operator.main import replica_settings

WRONG = {
    "no namespace for the lease": ({}, "POD_NAMESPACE"),
    "a port that is none": ({"POD_NAMESPACE": "msm", "MSM_HEALTH_PORT": "http"}, "MSM_HEALTH_PORT"),
    "a lease of no time": ({"POD_NAMESPACE": "msm", "MSM_LEASE_SECONDS": "0"}, "MSM_LEASE_SECONDS"),
    "a lease in words": ({"POD_NAMESPACE": "msm", "MSM_LEASE_SECONDS": "15s"}, "MSM_LEASE_SECONDS"),
}


@pytest.mark.parametrize(("environ", "name"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_with_the_variables_name(environ: dict[str, str], name: str) -> None:
    with pytest.raises(UserError, match=name):
        replica_settings(environ)


def test_a_shorter_lease_is_renewed_and_given_up_in_proportion() -> None:
    usual = replica_settings({"POD_NAMESPACE": "msm"}).timing
    short = replica_settings({"POD_NAMESPACE": "msm", "MSM_LEASE_SECONDS": "3"}).timing
    assert (usual.duration, usual.renew_deadline, usual.retry, usual.look) == (15, 10, 2, 1)
    assert short.duration == 3
    assert short.duration / usual.duration == pytest.approx(short.renew_deadline / usual.renew_deadline) == pytest.approx(0.2)
