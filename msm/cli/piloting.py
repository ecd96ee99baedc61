"""`msm pilot`: a few documents and dialogues end to end, before the full spend.

Neighbours: `msm.preview.pilot` cuts the run, `msm.plan` plans it, `msm.local` executes it as any other, `pilot_tables` shows it.
Invariants: the full run is neither accepted nor changed; the pilot is a run of its own with its own uid, so that it resumes, is looked at
and is collected like one; whatever happens, the next command to type is printed.
"""

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from msm.api import MSMRun
from msm.cli.codes import INTERRUPTED, SUCCEEDED
from msm.cli.display import WarningLog, open_display
from msm.cli.interrupt import Interrupts
from msm.cli.program import typed
from msm.cli.running import failure_code
from msm.cli.screen import Screen
from msm.cli.words import clean, number
from msm.clock import Clock, SystemClock
from msm.errors import UserError
from msm.local.accept import Accepted, preview_plan, read_plan, run_uid
from msm.local.status import Phase, RunStatus, State
from msm.plan import Plan, plan_pilot
from msm.preview.pilot import is_synthesised, not_piloted, pilot_of
from msm.store import ObjectStore
from msm.store.blobs import put_blob


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was typed."""

    file: Path
    documents: int
    whole_outline: bool
    shown: int

    def command(self, environ: Mapping[str, str], directory: Path) -> str:
        """The same command, to be typed again."""
        more = [f"--documents {self.documents}"] + ["--whole-outline"] * self.whole_outline
        return f"{typed('msm', environ, directory)} pilot {self.file} {' '.join(more)}"


def pilot(wanted: Wanted, screen: Screen, environ: Mapping[str, str], directory: Path) -> int:
    """Make the pilot of the run in a file, or continue it, and show it; the exit code.

    Raises:
        MSMError: the run could not be planned, or the store failed.
    """
    screen.say(f"reading {wanted.file} and resolving its inputs")
    full = preview_plan(wanted.file, environ, directory)
    for line in not_piloted(full.run):
        screen.say(clean(line))
    if not is_synthesised(full.run):
        screen.say("no language model writes anything of this run; `msm preview` counts what it makes, and it costs nothing to make it")
        if screen.as_json:
            screen.document({"run": full.run.metadata.name, "parts": []})
        return SUCCEEDED
    accepted = accept_pilot(full, wanted, environ)
    _say_cost(accepted, wanted, screen)
    status, interrupted = execute(accepted, screen)
    if status is None or status.phase is Phase.SUSPENDED:
        screen.warn(f"stopped; every answer is kept; `{wanted.command(environ, directory)}` continues")
        return interrupted or INTERRUPTED
    return conclude(full, accepted, status, wanted, screen, environ, directory)


def accept_pilot(full: Accepted, wanted: Wanted, environ: Mapping[str, str]) -> Accepted:
    """The pilot as a run of its own, frozen in the store; inputs are those that the full run was resolved to."""
    run = pilot_of(full.run, wanted.documents, wanted.whole_outline)
    base, store = wanted.file.parent, full.store
    uid = run_uid(run, base)
    frozen = read_plan(store, uid)
    plan = frozen or plan_pilot(run, full.plan.resolution)
    if frozen is None:
        _keep_inputs(run, plan, store, base, full, environ)
        store.put(f"runs/{uid}/run.json", run.model_dump_json(by_alias=True, indent=1).encode())
        store.put_if_absent(f"runs/{uid}/plan.json", plan.model_dump_json(by_alias=True, indent=1).encode())
    return Accepted(run, uid, plan, store, full.workspace, frozen_before=frozen is not None)


def _keep_inputs(run: MSMRun, plan: Plan, store: ObjectStore, base: Path, full: Accepted, environ: Mapping[str, str]) -> None:
    """Put the texts that the pilot's stages read into the store, from the run's files, or else from where they were resolved."""
    from msm.preview.texts import texts_of
    from msm.resolve.run import resolve_run
    from msm.stages.outside import process_clients

    texts = texts_of(run, base, store)
    found = {sha: texts.get(sha) for stage in plan.stages for sha in stage.blobs}
    for data in filter(None, found.values()):
        put_blob(store, data)
    if not all(found.values()):
        clients = process_clients(full.workspace.cache, full.workspace.store_config(full.run, environ), environ)
        resolve_run(run, base, clients, lambda data: put_blob(store, data), plan.resolution.precision)


def _say_cost(accepted: Accepted, wanted: Wanted, screen: Screen) -> None:
    """What the pilot itself will ask, before it asks."""
    from msm.preview.forecast import forecast

    found = forecast(accepted.run, accepted.uid, accepted.plan, accepted.store, wanted.file.parent)
    price = f", price {found.totals.price:.2f} at most" if found.totals.price else ""
    least = sum(max(0, ask.calls[0] - ask.answered) for stage in found.stages for ask in stage.asks)
    screen.say(f"pilot {accepted.uid}: {number(least)} to {number(found.totals.calls)} calls{price}")
    for warning in found.warnings:
        screen.warn(f"warning: {clean(warning)}")


def execute(accepted: Accepted, screen: Screen) -> tuple[RunStatus | None, int]:
    """Run the pilot to an end or an interruption: the last status (None: killed) and the interruption's exit code (0: none)."""
    clock, stop = SystemClock(), threading.Event()
    interrupts = Interrupts(stop, lambda text: None)
    try:
        with open_display(screen, clock) as display, WarningLog(display.note):
            interrupts.note = display.note
            with interrupts:
                status = run_pilot(accepted, display.report, stop, clock)
    except KeyboardInterrupt:
        return None, interrupts.exit_code or INTERRUPTED
    return status, interrupts.exit_code


def run_pilot(accepted: Accepted, show: Callable[[RunStatus], None], stop: threading.Event, clock: Clock) -> RunStatus:
    """The stages as in any run, with a status in the store; nothing goes to MLflow, and there are no results to compute."""
    from msm.local.executor import Executor
    from msm.local.process import Launcher, sweep
    from msm.local.records import load_status
    from msm.local.session import SECRET_VARIABLES, Session

    session = Session(accepted, clock, show, load_status(accepted.store, accepted.uid))
    space, execution = accepted.workspace, accepted.run.spec.execution
    config = space.store_config(accepted.run, os.environ).to_environ()
    launcher = Launcher(space.scratch, space.cache, {name: value for name, value in config.items() if name not in SECRET_VARIABLES})
    sweep(space.scratch, clock.now().timestamp())
    executor = Executor(
        uid=accepted.uid,
        plan=accepted.plan,
        store=accepted.store,
        launcher=launcher,
        clock=clock,
        report=session.report,
        retries=execution.retries.limit,
        deadline=timedelta(seconds=execution.deadline),
        parallelism=execution.parallelism,
        stop=stop,
    )
    try:
        status = executor.run()
    finally:
        launcher.close()
    return session.status or status


def conclude(
    full: Accepted, accepted: Accepted, status: RunStatus, wanted: Wanted, screen: Screen, environ: Mapping[str, str], directory: Path
) -> int:
    """Show what came out and say what to type next; the exit code."""
    from msm.cli.pilot_tables import pilot_document, say_pilot
    from msm.preview.pilot_report import pilot_report

    failed = [stage for stage in status.stages if stage.state is State.FAILED]
    messages = {stage.name: stage.message for stage in failed}
    if missing := [name for name in messages if name.startswith("fetch")]:
        raise UserError(missing[0], messages[missing[0]], "mend it and run the pilot again")
    found = pilot_report(
        full.run, accepted.uid, full.plan, accepted.plan, full.store, wanted.file.parent, accepted.workspace.cache, messages
    )
    if screen.as_json:
        screen.document({**pilot_document(found), "phase": status.phase.value})
    else:
        say_pilot(found, wanted.shown, screen)
    msm = typed("msm", environ, directory)
    for stage in failed:
        screen.warn(f"error: {clean(stage.name)}: {clean(stage.message)}")
    for part in found.parts:
        if part.what == "documents" and part.passed:
            screen.say(f"{'read on':<10} {msm} corpus show {accepted.uid}#{part.name} (--dropped: what was left out)")
    if any(part.passed for part in found.parts):
        screen.say(f"{'page':<10} {msm} report {accepted.uid} (how the documents read, what they cover)")
    screen.say(f"{'full run':<10} {msm} run {wanted.file}")
    return failure_code(failed) if failed else SUCCEEDED
