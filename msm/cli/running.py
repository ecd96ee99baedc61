"""`msm run`: accept, execute with a display, say what came out.

Neighbours: `msm.local` does the work, `display` shows it, `interrupt` hears Ctrl-C. Invariant: the exit code says whose move it is;
whatever happens, the next command to type is printed.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msm.cli.codes import FAILED, INTERRUPTED, SUCCEEDED, USER_ERROR
from msm.cli.display import WarningLog, open_display
from msm.cli.interrupt import Interrupts
from msm.cli.program import typed
from msm.cli.result_tables import result_tables, results_document
from msm.cli.screen import Screen
from msm.cli.words import clean, duration
from msm.clock import SystemClock
from msm.errors import UserError
from msm.local.status import Phase, RunStatus, StageStatus, State

if TYPE_CHECKING:
    from msm.local.accept import Accepted
    from msm.results.rows import Results

MISTAKE = f"{UserError.reason}:"
"""How the message of a stage begins that was given up for the user's mistake."""


def run(file: Path, screen: Screen, environ: Mapping[str, str], directory: Path) -> int:
    """Accept and execute the run in a file; the exit code.

    Raises:
        MSMError: the run could not be accepted, or the store failed.
    """
    from msm.local.accept import accept

    screen.say(f"reading {file} and resolving its inputs")
    accepted = accept(file, environ, directory)
    how = "continuing" if accepted.frozen_before else "accepted"
    screen.say(f"{how} {accepted.uid}, kept in {accepted.store.uri}")
    status, exit_code = execute(accepted, screen)
    if status is None:
        screen.warn(f"killed; what was checkpointed is kept; `{_again(file, environ, directory)}` continues")
        return exit_code
    return conclude(accepted, status, exit_code, file, screen, environ, directory)


def execute(accepted: "Accepted", screen: Screen) -> tuple[RunStatus | None, int]:
    """Run to an end or an interruption: the last status (None: killed) and the interruption's exit code (0: none)."""
    from msm.local.session import run_local

    clock, stop = SystemClock(), threading.Event()
    interrupts = Interrupts(stop, lambda text: None)
    try:
        with open_display(screen, clock) as display, WarningLog(display.note):
            interrupts.note = display.note
            with interrupts:
                status = run_local(accepted, display.report, stop, clock)
    except KeyboardInterrupt:
        return None, interrupts.exit_code or INTERRUPTED
    return status, interrupts.exit_code


def conclude(
    accepted: "Accepted", status: RunStatus, interrupted: int, file: Path, screen: Screen, environ: Mapping[str, str], directory: Path
) -> int:
    """Say what came out and what to type next; the exit code."""
    from msm.local.records import load_results

    for note in status.notes:
        screen.warn(clean(note))
    results = load_results(accepted.store, accepted.uid) if status.phase is Phase.SUCCEEDED else None
    if screen.as_json:
        screen.document(outcome_document(accepted, status, results))
    match status.phase:
        case Phase.SUCCEEDED:
            _tell_success(accepted, status, results, file, screen, environ, directory)
            return SUCCEEDED
        case Phase.FAILED:
            return _tell_failure(status, file, screen, environ, directory)
    screen.warn(f"stopped; {status.done} of {len(status.stages)} stages are done; `{_again(file, environ, directory)}` continues")
    return interrupted or INTERRUPTED


def outcome_document(accepted: "Accepted", status: RunStatus, results: "Results | None") -> dict[str, Any]:
    """What `msm run --json` prints: the results and how the call went."""
    found = results_document(results) if results is not None else {"run": status.run}
    call = {"uid": accepted.uid, "phase": status.phase.value, "store": accepted.store.uri, "message": status.message}
    return {**found, **call, "reusedStages": len(already_there(status)), "notes": list(status.notes)}


def already_there(status: RunStatus) -> list[StageStatus]:
    """Stages that were committed before this call, or need not run."""
    return [s for s in status.stages if s.state in (State.DONE, State.NOT_NEEDED) and not s.attempts]


def _tell_success(
    accepted: "Accepted",
    status: RunStatus,
    results: "Results | None",
    file: Path,
    screen: Screen,
    environ: Mapping[str, str],
    directory: Path,
) -> None:
    from msm.tracking.config import tracking_config, ui_command

    screen.say()
    if results is not None:
        screen.show(*result_tables(results, screen.console().width))
        screen.say()
    tracking = tracking_config(accepted.run, accepted.workspace.root, environ)
    page = accepted.workspace.report(accepted.uid) / "report.html"
    pairs = [
        *([("report", str(page))] if page.is_file() else []),
        ("re-used", reuse_sentence(status)),
        ("artifacts", f"{accepted.store.uri}/ (this run: runs/{accepted.uid}/)"),
        ("MLflow", ui_command(tracking, typed("mlflow", environ, directory))),
        ("as JSON", f"{typed('msm', environ, directory)} results {file} --json"),
    ]
    for name, value in pairs:
        screen.say(f"{name:<10} {value}")


def reuse_sentence(status: RunStatus) -> str:
    """What was there already, and how long the rest took."""
    there, ran = already_there(status), [s for s in status.stages if s.attempts]
    took = duration((status.updated - status.started).total_seconds())
    what = f"{len(there)} of {len(status.stages)} stages"
    return f"{what}; {len(ran)} ran, {took} in all" if ran else f"{what}; nothing had to run"


def _tell_failure(status: RunStatus, file: Path, screen: Screen, environ: Mapping[str, str], directory: Path) -> int:
    failed = [s for s in status.stages if s.state is State.FAILED]
    for stage in failed:
        screen.warn(f"error: {clean(stage.name)}: {clean(stage.message)}")
    blocked = sum(s.state is State.BLOCKED for s in status.stages)
    beyond = f"; {blocked} stages that need them did not run" if blocked else ""
    screen.warn(f"failed: {status.done} of {len(status.stages)} stages are done{beyond}")
    msm = typed("msm", environ, directory)
    for stage in failed[:3]:
        screen.warn(f'log: {msm} logs {file} --stage "{clean(stage.name)}"')
    return failure_code(failed)


def failure_code(failed: Sequence[StageStatus]) -> int:
    """2 when every stage that was given up was given up for the user's mistake, else 1."""
    return USER_ERROR if failed and all(s.message.startswith(MISTAKE) for s in failed) else FAILED


def _again(file: Path, environ: Mapping[str, str], directory: Path) -> str:
    return f"{typed('msm', environ, directory)} run {file}"
