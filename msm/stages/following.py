"""A stage on a machine that does not lead: it works along, and ends as the machine that leads does.

Only the leader has an attempt in the store; its heartbeat says that it lives, its manifest that all is done. Neighbours: `program` chooses,
`msm.train.machines` says who leads. Invariant: exit code 0 only with a committed manifest here too; a follower ends after its leader, so
that the first container to end is the one that knows why, unless the follower itself has failed.
"""

import logging
from collections.abc import Callable, Mapping

from msm.clock import Clock
from msm.errors import Preempted, TryAgain
from msm.plan import Stage, kinds
from msm.stages.context import Context, Result
from msm.stages.contract import HEARTBEAT_SECONDS
from msm.stages.params import integer, mapping
from msm.store.artifacts import read_manifest
from msm.store.progress import MISSED_BEATS, Sighting, read_progress, watch
from msm.train.machines import Machines, read_machines

POLL_SECONDS = 1.0
Seen = dict[str, tuple[Sighting, float]]

log = logging.getLogger(__name__)


def machines_of(stage: Stage, environ: Mapping[str, str]) -> Machines:
    """The machines that an attempt at a stage runs on; only trainings have several.

    Raises:
        UserError: the environment does not describe as many.
    """
    resources = mapping(stage.execution, "resources")
    if stage.kind not in kinds.TRAINING or "nodes" not in resources:
        return Machines()
    return read_machines(integer(resources, "nodes"), environ)


def follow(context: Context, work: Callable[[Context], Result], clock: Clock) -> str:
    """Do this machine's part, then wait for the leader's commit; says that it was made.

    Raises:
        Preempted: stopped, here or elsewhere; TryAgain: the leader ended without a commit; MSMError: by what failed here.
    """
    try:
        work(context)
    except Preempted:
        _leader_ends(context, clock)
        raise
    if _leader_ends(context, clock):
        return f"{context.stage.name} was committed by the machine that leads"
    raise TryAgain(f"the machine that leads ended without committing {context.stage.name}; its own last words say why")


def _leader_ends(context: Context, clock: Clock) -> bool:
    """Waits until no attempt at the stage lives, for half the grace at most once this machine is asked to stop; whether one committed."""
    seen: Seen = {}
    until, alive = float("inf"), True
    while alive and clock.monotonic() < until:
        if context.stop.is_set():
            until = min(until, clock.monotonic() + context.grace / 2)
        try:
            seen = _look(context, seen, clock)
            alive = any(sighting.unchanged_seconds < MISSED_BEATS * HEARTBEAT_SECONDS for sighting, _ in seen.values())
            if read_manifest(context.store, context.stage.kind, context.stage.fingerprint) is not None:
                return True
        except TryAgain as error:
            log.warning("cannot see the machine that leads: %s", error)
        clock.sleep(POLL_SECONDS if alive else 0.0)
    return False


def _look(context: Context, seen: Seen, clock: Clock) -> Seen:
    """One more look at attempts that have not said that they ended: their heartbeats are watched moving, whatever clocks elsewhere say."""
    found = read_progress(context.store, context.stage.kind, context.stage.fingerprint)
    return watch(seen, [progress for progress in found if not progress.ended], clock.monotonic())
