import pytest

from msm.local.eta import remaining_seconds
from msm.local.status import State
from tests.unit.cli.kept import stage, status_of

DONE = stage("midtrain a seed 0", state=State.DONE, seconds=100.0, attempts=1)
REUSED = stage("midtrain b seed 0", state=State.DONE, seconds=0.0, attempts=0)

CASES = {
    "nothing is left": ((DONE, REUSED), 0.0),
    "nothing was measured yet": ((REUSED, stage("midtrain c seed 0")), None),
    "a running stage's own estimate is believed": (
        (stage("midtrain c seed 0", state=State.RUNNING, remaining_seconds=33.0, seconds=9.0, attempts=1),),
        33.0,
    ),
    "a stage takes as long as one of its kind did": ((DONE, stage("midtrain c seed 0")), 100.0),
    "another kind takes its usual share at the pace so far": ((DONE, stage("finetune x seed 0")), 75.0),
    "what a stage has done is not done again": (
        (DONE, stage("midtrain c seed 0", state=State.RUNNING, percentage=40.0, attempts=1, seconds=50.0)),
        60.0,
    ),
    "a stage that has not begun takes what one of its kind is going to take": (
        (
            stage("midtrain c seed 0", state=State.RUNNING, percentage=50.0, attempts=1, seconds=30.0, remaining_seconds=10.0),
            stage("midtrain d seed 0"),
        ),
        10.0 + 40.0,
    ),
    "a stage that does not say how far it is slows nothing down": (
        (DONE, stage("demonstrate x", state=State.RUNNING, percentage=0.0, attempts=1, seconds=500.0)),
        20.0,
    ),
    "what can no longer be reached is not waited for": (
        (DONE, stage("evaluate v seed 0", state=State.BLOCKED), stage("midtrain c seed 0", state=State.FAILED)),
        0.0,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_remaining_time(case: tuple) -> None:
    stages, seconds = case
    assert remaining_seconds(status_of(*stages)) == (seconds if seconds is None else pytest.approx(seconds))
