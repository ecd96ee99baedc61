"""A little of `make chaos`: two replicas killed many times while ten runs go on; they end as if nobody had been killed."""

import random

import pytest

from tests.chaos.operator_injections import BUSY, SMALL, Teller, near
from tests.chaos.pretend_wire import Dice


def test_a_run_whose_operator_is_killed_at_some_boundaries_ends_as_undisturbed() -> None:
    said: list[str] = []
    teller = Teller(SMALL, said.append)
    boundaries = teller.prepare()
    assert boundaries > 100
    for number in range(20, boundaries, 60):
        teller.tell(f"boundary {number}", Dice(random.Random(number), 1, lambda _, number=number: number, faults=0.0))
    assert teller.verdict.good, said
    assert teller.verdict.injected >= 3


@pytest.mark.slow
def test_many_kinds_of_runs_survive_kills_and_faults_of_all_sorts() -> None:
    said: list[str] = []
    teller = Teller(BUSY, said.append)
    teller.prepare()
    teller.tell("story", Dice(random.Random(7), 30, near))
    assert teller.verdict.good, said
    assert teller.verdict.injected >= 10
    assert {"429", "410", "409", "unheard", "unanswered", "twice", "stale"} <= set(teller.happened)
