"""`msm wait`, `suspend`, `resume`, `cancel`: what a user does to a run in a cluster.

Neighbours: `msm.cluster` asks and decides. Invariants: `wait` exits with 0, 1 or 2 and nothing else; asking for what is so already is no
error; nothing here deletes an artifact.
"""

from typing import Any

from msm.api.base import parse_duration
from msm.cli.cluster_view import cluster_view
from msm.cli.codes import FAILED, SUCCEEDED, USER_ERROR
from msm.cli.remote import Remote
from msm.cli.view import headline
from msm.cli.words import clean, duration
from msm.cluster.objects import OVER, RunObject
from msm.cluster.runs import delete_run, find_run, set_suspend
from msm.cluster.waiting import Ended, Goal, Outcome, wait_for
from msm.errors import TryAgain, UserError

EXITS = {
    Outcome.REACHED: SUCCEEDED,
    Outcome.FAILED: FAILED,
    Outcome.GONE: FAILED,
    Outcome.REFUSED: USER_ERROR,
    Outcome.TIME_OVER: USER_ERROR,
}
GONE_SECONDS = 1.0


def seconds_of(timeout: str | None) -> float | None:
    """A duration of the command line in seconds; None waits for ever.

    Raises:
        UserError: it is none.
    """
    if timeout is None:
        return None
    try:
        return float(parse_duration(f"{timeout}s" if timeout.isdecimal() else timeout))
    except ValueError as error:
        raise UserError("--timeout", str(error)) from error


def wait(remote: Remote, target: str, goal: str, timeout: str | None) -> int:
    """Wait for a goal; the exit code."""
    seconds = seconds_of(timeout)
    try:
        first = remote.run(target)
    except TryAgain as error:
        remote.screen.warn(f"error: {clean(str(error))}")
        return USER_ERROR
    heard = Heard(remote)
    ended = wait_for(lambda: _same(remote, first), Goal(goal), seconds, remote.clock, heard)
    if remote.screen.as_json:
        remote.screen.document(_document(first, goal, ended))
    elif ended.outcome is Outcome.REACHED:
        remote.screen.say(f"{first.name}: {goal}")
    if ended.outcome is not Outcome.REACHED:
        remote.screen.warn(f"error: {first.name}: {_why(remote, first, goal, ended, timeout)}")
    return EXITS[ended.outcome]


def _same(remote: Remote, first: RunObject) -> RunObject | None:
    """The run now; None when it is gone, or another has its name."""
    found = find_run(remote.requests, first.name)
    return found if found is not None and found.uid == first.uid else None


class Heard:
    """Says where a run is when its phase or its stage turns."""

    def __init__(self, remote: Remote) -> None:
        self._remote, self._turn = remote, ("", "")

    def __call__(self, run: RunObject) -> None:
        """Print a line when something turned."""
        turn = (run.standing.value, str(run.status.get("stage", "")))
        if turn != self._turn:
            self._turn = turn
            stage = f"  {clean(turn[1])}" if turn[1] else ""
            self._remote.screen.say(f"{headline(cluster_view(run, None))}{stage}")


def _why(remote: Remote, first: RunObject, goal: str, ended: Ended, timeout: str | None) -> str:
    run = ended.run
    match ended.outcome:
        case Outcome.GONE:
            return "was deleted"
        case Outcome.TIME_OVER:
            last = ended.silence or (headline(cluster_view(run, None)) if run is not None else "")
            return f"is not {goal} after {timeout}: {last}; it goes on, `{remote.typed('status', first.name)}` shows it"
        case Outcome.REFUSED:
            return f"was not accepted: {clean(run.why) if run is not None else ''}"
    why = clean(run.why) if run is not None else ""
    standing = run.standing.value if run is not None else ""
    return f"{standing}: {why}; `{remote.typed('logs', first.name)}` says more"


def _document(first: RunObject, goal: str, ended: Ended) -> dict[str, Any]:
    run = ended.run
    said = {"phase": run.standing.value, "message": run.why} if run is not None else {"phase": None, "message": ended.silence}
    return {"run": first.name, "for": goal, "outcome": ended.outcome.value, "exitCode": EXITS[ended.outcome], **said}


def suspend(remote: Remote, target: str) -> None:
    """Ask a run to stop after checkpointing."""
    run = _unfinished(remote, target, "suspended")
    set_suspend(remote.requests, run, True)
    before = "was suspended already" if run.is_suspended else "its stages checkpoint and stop"
    _say(remote, run, before, f"`{remote.typed('resume', run.name)}` lets it go on", suspend=True)


def resume(remote: Remote, target: str) -> None:
    """Let a run go on."""
    run = _unfinished(remote, target, "resumed")
    set_suspend(remote.requests, run, False)
    before = "goes on where its stages stopped" if run.is_suspended else "was not suspended"
    _say(remote, run, before, f"`{remote.typed('status', run.name, '-w')}` shows it", suspend=False)


def _unfinished(remote: Remote, target: str, what: str) -> RunObject:
    run = remote.run(target)
    if run.standing in OVER:
        raise UserError("run", f'"{run.name}" has {run.standing.value.lower()} and cannot be {what}', "submit it under another name")
    return run


def _say(remote: Remote, run: RunObject, how: str, then: str, **said: bool) -> None:
    if remote.screen.as_json:
        remote.screen.document({"run": run.name, "namespace": run.namespace, **said})
    else:
        remote.screen.say(f"{run.name}: {how}; {then}")


def cancel(remote: Remote, target: str, waited: bool, timeout: str | None) -> int:
    """Delete a run; the exit code."""
    seconds = seconds_of(timeout)
    run = remote.run(target)
    delete_run(remote.requests, run, foreground=waited)
    if waited and not _is_gone(remote, run, seconds):
        remote.screen.warn(f"error: {run.name}: is not gone after {duration(seconds)}; it is being deleted")
        return USER_ERROR
    policy = (run.spec.get("execution") or {}).get("deletionPolicy", "Retain")
    kept = "its records go, artifacts stay in the store" if policy == "Delete" else "its records and artifacts stay in the store"
    _say(remote, run, "deleted" if waited else "is being deleted", f"{kept}, and a run that needs them uses them", deleted=True)
    return SUCCEEDED


def _is_gone(remote: Remote, run: RunObject, seconds: float | None) -> bool:
    begun = remote.clock.monotonic()
    while _same(remote, run) is not None:
        if seconds is not None and remote.clock.monotonic() - begun >= seconds:
            return False
        remote.clock.sleep(GONE_SECONDS)
    return True
