"""`msm report`: a run as one page, made anew from what is committed.

Neighbours: `msm.results` composes and keeps it. Invariant: works while a run goes on and says what is missing; only a finished run's
report is kept in the store, where MLflow's copy comes from.
"""

import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msm.api import MSMRun
from msm.cli.screen import Screen
from msm.cli.words import clean, some
from msm.errors import UserError
from msm.local.accept import read_plan
from msm.local.records import find_run, load_status
from msm.local.workspace import Workspace
from msm.plan import Plan
from msm.report.model import Report
from msm.store import ObjectStore

ACCEPTED = "Accepted"
"""Phase of a run that nobody has started."""


@dataclass(frozen=True, slots=True)
class Found:
    """A run whose report is wanted: its store, its identity there, where reports are written, and what was accepted."""

    store: ObjectStore
    uid: str
    space: Workspace
    run: MSMRun


def report_run(target: str, out: Path | None, is_opened: bool, screen: Screen, environ: Mapping[str, str], directory: Path) -> None:
    """Compose a run's report, write it, and keep it with the run when that is finished."""
    report_found(Found(*find_run(target, environ, directory)), target, out, is_opened, screen)


def report_found(found: Found, target: str, out: Path | None, is_opened: bool, screen: Screen) -> None:
    """The same for a run that was found, wherever it is executed."""
    from msm.results.publish import JSON, files_of, keep_report, write_report

    report = compose_report(found, target)
    files = files_of(report)
    page = write_report(out or found.space.report(found.uid), files)
    if not report.missing:
        keep_report(found.store, found.uid, report, files)
    if screen.as_json:
        screen.document(report.model_dump(mode="json", by_alias=True))
    else:
        _tell(report, page, page.with_name(JSON), screen)
    if is_opened and not webbrowser.open(page.resolve().as_uri()):
        screen.warn(f"no browser answers; open {page} yourself")


def compose_report(found: Found, target: str) -> Report:
    """The report of a run.

    Raises:
        UserError: it was never accepted.
    """
    from msm.results.compose import compose
    from msm.results.survey import survey

    seen = survey(found.run, plan_of(found.store, found.uid, target), found.store, found.space.cache)
    status = load_status(found.store, found.uid)
    rows, phase = (status.rows, status.phase.value) if status is not None else ((), ACCEPTED)
    return compose(seen, found.uid, phase, rows)


def plan_of(store: ObjectStore, uid: str, target: str) -> Plan:
    """The frozen plan of a run.

    Raises:
        UserError: it was never accepted.
    """
    plan = read_plan(store, uid)
    if plan is None:
        raise UserError("run", f"{uid} has not been started in {store.uri}", f"`msm run {target}` starts it")
    return plan


def _tell(report: Report, page: Path, data: Path, screen: Screen) -> None:
    screen.say(clean(report.sentence))
    for caution in report.cautions:
        screen.say(f"warning: {clean(caution.text)}")
    if report.missing:
        screen.say(f"not finished: {some(report.missing, 'stage', 'stages')} must still run")
    screen.say(f"{'page':<10} {page}")
    screen.say(f"{'data':<10} {data}")
    if report.versions:
        screen.say(f"{'cards':<10} {page.parent / 'cards'}")
