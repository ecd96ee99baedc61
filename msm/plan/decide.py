"""Which stages are needed, ready, waiting or lost: the executors' decisions.

Pure: takes a plan and what was observed, returns what to do. Neighbours: `graph` gives the plan, executors act. Invariant: a stage whose
artifact is committed is never started, nor one that only feeds committed consumers. Cost: O(stages + edges) a pass.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from msm.errors import Exit
from msm.plan.graph import Plan, Stage


class Ending(StrEnum):
    """How an attempt ended, by the stage contract's exit codes."""

    COMMITTED = "Committed"
    USER_ERROR = "UserError"
    TRY_AGAIN = "TryAgain"
    PREEMPTED = "Preempted"
    FAULT = "Fault"


def classify(exit_code: int | None, committed: bool) -> Ending:
    """The meaning of an exit code; None is a process that was killed. Code 0 without a manifest is a fault (CommitMissing)."""
    if committed:
        return Ending.COMMITTED
    match exit_code:
        case Exit.USER_ERROR:
            return Ending.USER_ERROR
        case Exit.TRY_AGAIN:
            return Ending.TRY_AGAIN
        case Exit.PREEMPTED:
            return Ending.PREEMPTED
    return Ending.FAULT


@dataclass(frozen=True, slots=True)
class Attempt:
    """One ended attempt of a stage: how, when, at which training step, and the stage's last words."""

    ending: Ending
    ended: datetime
    step: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """Start an attempt now."""


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Start an attempt, but not before `when`."""

    when: datetime


@dataclass(frozen=True, slots=True)
class Fail:
    """Give the stage up."""

    reason: str
    message: str


Action = Start | WaitUntil | Fail

FIRST_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(minutes=10)
STANDSTILL = 3
"""Preemptions in a row without a new step after which a stage is given up."""


def backoff(failures: int) -> timedelta:
    """Delay before the next attempt after `failures` of them in a row: 5 s, doubling, at most 10 minutes."""
    doublings: int = min(failures - 1, 16)
    return min(FIRST_DELAY * (1 << doublings), LONGEST_DELAY)


def next_attempt(attempts: Sequence[Attempt], limit: int, deadline: timedelta, started: datetime | None, now: datetime) -> Action:
    """What to do with a stage that is ready and not running.

    `limit` counts faults only: a preemption does not count, a try-again is bounded by the deadline alone.
    """
    if not attempts:
        return Start()
    last = attempts[-1]
    faults = sum(a.ending is Ending.FAULT for a in attempts)
    if last.ending is Ending.USER_ERROR:
        return Fail("InvalidInput", last.message)
    if faults > limit:
        return Fail("RetriesExhausted", f"{faults} faults; the last: {last.message}")
    if _stands_still(attempts):
        return Fail("NoProgress", f"preempted {STANDSTILL} times in a row at step {last.step}; {last.message}")
    if started is not None and now - started > deadline:
        return Fail("DeadlineExceeded", f"not finished after {deadline}; the last attempt: {last.message}")
    if last.ending is Ending.PREEMPTED:
        return Start()
    failures = faults if last.ending is Ending.FAULT else sum(a.ending is Ending.TRY_AGAIN for a in attempts)
    when = last.ended + backoff(failures)
    return Start() if now >= when else WaitUntil(when)


def _stands_still(attempts: Sequence[Attempt]) -> bool:
    tail = attempts[-STANDSTILL:]
    return len(tail) == STANDSTILL and all(a.ending is Ending.PREEMPTED for a in tail) and len({a.step for a in tail}) == 1


def needed(plan: Plan, committed: Collection[str]) -> tuple[Stage, ...]:
    """Stages that must still run: the arms' models, the evaluations, further targets, and whatever uncommitted stages those read."""
    targets = {m.model.fingerprint for m in plan.models} | {r.fingerprint for refs in plan.evaluations.values() for _, r in refs}
    targets |= {ref.fingerprint for ref in plan.targets}
    wanted: set[str] = set()
    for stage in reversed(plan.stages):
        is_wanted = stage.fingerprint in targets or stage.fingerprint in wanted
        if is_wanted and stage.fingerprint not in committed:
            wanted.add(stage.fingerprint)
            wanted.update(ref.fingerprint for ref in stage.needs if ref.fingerprint not in committed)
        else:
            wanted.discard(stage.fingerprint)
    return tuple(stage for stage in plan.stages if stage.fingerprint in wanted)


def ready(plan: Plan, committed: Collection[str], busy: Collection[str]) -> tuple[Stage, ...]:
    """Needed stages whose inputs are all committed and that nobody is at work on, in plan order."""
    return tuple(
        stage
        for stage in needed(plan, committed)
        if stage.fingerprint not in busy and all(ref.fingerprint in committed for ref in stage.needs)
    )


def blocked(plan: Plan, failed: Collection[str]) -> frozenset[str]:
    """Fingerprints that can no longer be reached because something they read was given up."""
    lost = set(failed)
    for stage in plan.stages:
        if any(ref.fingerprint in lost for ref in stage.needs):
            lost.add(stage.fingerprint)
    return frozenset(lost - set(failed))


def stale(recorded: Mapping[str, str], current: Mapping[str, str]) -> tuple[str, ...]:
    """Inputs (fingerprint -> contentDigest) whose present content differs from what a manifest recorded."""
    return tuple(sorted(name for name, digest in recorded.items() if name in current and current[name] != digest))
