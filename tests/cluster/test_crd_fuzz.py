"""Random runs: the API server names a field, or `msm.api` does, or it is the run that was sent; never anything else."""

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cluster.control_plane import ControlPlane
from tests.cluster.fuzz import edited, judge


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(draw=st.randoms(use_true_random=False))
def test_a_random_run_is_refused_by_field_or_is_the_run_that_was_sent(definitions: ControlPlane, draw: random.Random) -> None:
    judge(definitions.api, "default", edited(draw))


def test_a_good_part_of_what_is_tried_is_taken(definitions: ControlPlane) -> None:
    outcomes = [judge(definitions.api, "default", edited(random.Random(seed)))[0] for seed in range(100)]
    assert outcomes.count("accepted") >= 10
    assert outcomes.count("refused") >= 20
