"""How long a run still takes, from what its stages took so far.

Pure. Neighbours: both displays and `msm status` print it. A running stage's own estimate is believed; one that has not begun is taken to
take as long as those of its kind did, or its kind's usual share of the time at the pace seen so far. Cost: linear in stages.
"""

from collections.abc import Sequence

from msm.local.status import WEIGHT, RunStatus, StageStatus, State

ENOUGH_SECONDS = 5.0
"""Work that must have been seen before a pace is believed."""
AT_WORK = (State.RUNNING, State.FOLLOWING)
OVER = (State.DONE, State.NOT_NEEDED, State.FAILED, State.BLOCKED)


def remaining_seconds(status: RunStatus) -> float | None:
    """Estimate for the whole run, one stage after the other; None until something was measured."""
    left = [stage for stage in status.stages if stage.state not in OVER]
    if not left:
        return 0.0
    pace, wholes = _pace(status.stages), _wholes(status.stages)
    parts = [_left_of(stage, wholes.get(stage.kind, ()), pace) for stage in left]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _wholes(stages: Sequence[StageStatus]) -> dict[str, list[tuple[StageStatus, float]]]:
    """Kind -> stages of it whose whole time is known, with that time."""
    found: dict[str, list[tuple[StageStatus, float]]] = {}
    for stage in stages:
        if (whole := _whole(stage)) is not None:
            found.setdefault(stage.kind, []).append((stage, whole))
    return found


def _left_of(stage: StageStatus, known: Sequence[tuple[StageStatus, float]], pace: float | None) -> float | None:
    begun = stage.state in AT_WORK
    if begun and stage.remaining_seconds is not None:
        return stage.remaining_seconds
    alike = [whole for other, whole in known if other is not stage]
    share = 1.0 - stage.percentage / 100 if begun else 1.0
    if alike:
        return share * sum(alike) / len(alike)
    return None if pace is None else share * WEIGHT.get(stage.kind, 1) * pace


def _whole(stage: StageStatus) -> float | None:
    """Seconds from a stage's start to its end; None of one that was not run here, or does not say how far it is."""
    if not stage.attempts:
        return None
    if stage.state is State.DONE:
        return stage.seconds
    if stage.state not in AT_WORK or not stage.percentage:
        return None
    return stage.seconds + (stage.remaining_seconds if stage.remaining_seconds is not None else _rest(stage))


def _rest(stage: StageStatus) -> float:
    return stage.seconds * (100 - stage.percentage) / stage.percentage


def _pace(stages: Sequence[StageStatus]) -> float | None:
    """Seconds a unit of weight takes."""
    seen = [(whole, WEIGHT.get(s.kind, 1)) for s in stages if (whole := _whole(s)) is not None]
    seconds = sum(whole for whole, _ in seen)
    return seconds / sum(weight for _, weight in seen) if seconds >= ENOUGH_SECONDS else None
