"""`msm promote` and `msm rollback`: which version an alias names, moved with its reasons on record.

Neighbours: `msm.evals.gates` judges a run's recorded scores, `msm.tracking.promotion` moves the alias; the operator's EvalDeployment
follows it. Invariant: without --force an alias never moves to a model that fails a gate of its run; every number that is printed is
computed from committed evaluations, not read from MLflow.
"""

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msm.cli.codes import FAILED, SUCCEEDED
from msm.cli.screen import Screen
from msm.cli.words import clean, some
from msm.clock import Clock
from msm.errors import UserError
from msm.local.records import find_run

if TYPE_CHECKING:
    from msm.api import MSMRun
    from msm.evals.gates import Verdict
    from msm.local.workspace import Workspace
    from msm.plan import Plan, StageRef
    from msm.store import ObjectStore
    from msm.tracking.promotion import Moved, Note


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be promoted: a run, the alias, the reason given, and whether gates may fail."""

    target: str
    alias: str
    why: str | None
    force: bool


def promote(wanted: Wanted, screen: Screen, environ: Mapping[str, str], directory: Path, clock: Clock) -> int:
    """Check the gates of a run, then move the alias to its candidate; the exit code.

    Raises:
        UserError: the run names no candidate, or it is not trained or not registered.
    """
    from msm.local.accept import read_plan

    store, uid, space, run = find_run(wanted.target, environ, directory)
    plan = read_plan(store, uid)
    if plan is None:
        raise UserError("run", f"{uid} was never accepted in {store.uri}", f"`msm run {wanted.target}` does that")
    arm, ref = _candidate(run, plan)
    verdicts = _judge(run, plan, arm, store, space)
    held = all(verdict.passed for verdict in verdicts)
    if not held and not wanted.force:
        _say_refused(run, wanted.alias, verdicts, screen)
        return FAILED
    moved = _move(wanted, (run, uid, ref), verdicts, (store, space), environ, clock)
    _say_moved(moved, verdicts, screen, forced=not held)
    return SUCCEEDED


def _candidate(run: "MSMRun", plan: "Plan") -> tuple[str, "StageRef"]:
    """The arm and the trained stage that a run offers: its candidate's first listed seed, never "the best"."""
    from msm.plan import kinds

    registry = run.spec.registry
    if registry is None or registry.candidate is None:
        arms = ", ".join(arm.name for arm in run.spec.arms)
        raise UserError("spec.registry.candidate", "names no arm, so nothing is to be promoted", f"name one of {arms}")
    first = run.spec.seeds[0]
    ref = next(m.model for m in plan.models if (m.arm, m.seed) == (registry.candidate, first))
    if ref.kind not in kinds.TRAINING:
        raise UserError("spec.registry.candidate", f'"{registry.candidate}" is not trained; it is the base model', "name a trained arm")
    return registry.candidate, ref


def _judge(run: "MSMRun", plan: "Plan", arm: str, store: "ObjectStore", space: "Workspace") -> list["Verdict"]:
    """The run's gates over its committed evaluations; none where the run has no gates."""
    assert run.spec.registry is not None, "a run without registry has no candidate"
    if not run.spec.registry.gates:
        return []
    from msm.evals.gates import judge_run
    from msm.results.artifacts import Artifacts
    from msm.results.evidence import gather

    scores = gather(run, plan, Artifacts.of(plan, store, space.cache)).scores
    return judge_run(run.spec.registry.gates, arm, scores)


def _move(
    wanted: Wanted,
    offered: tuple["MSMRun", str, "StageRef"],
    verdicts: Sequence["Verdict"],
    places: tuple["ObjectStore", "Workspace"],
    environ: Mapping[str, str],
    clock: Clock,
) -> "Moved":
    from msm.store.artifacts import read_manifest
    from msm.tracking import promotion
    from msm.tracking.client import mlflow_errors, open_client
    from msm.tracking.config import tracking_config

    (run, uid, ref), (store, space) = offered, places
    assert run.spec.registry is not None, "a run without registry has no candidate"
    model, config = run.spec.registry.model, tracking_config(run, space.root, environ)
    manifest = read_manifest(store, ref.kind, ref.fingerprint)
    if manifest is None:
        raise UserError("run", f"{uid} has not trained its candidate yet", f"`msm run {wanted.target}` does")
    _check_database(config.database)
    with mlflow_errors(config):
        client = open_client(config, dict(environ))
        version = promotion.version_of(client, model, ref.fingerprint, manifest.content_digest)
        if version is None:
            raise UserError("model", f'MLflow has no version of "{model}" for this run\'s candidate', f"`msm track sync {wanted.target}`")
        return promotion.promote(client, model, wanted.alias, version, _note(wanted, uid, verdicts, clock))


def _note(wanted: Wanted, uid: str, verdicts: Sequence["Verdict"], clock: Clock) -> "Note":
    from msm.tracking.promotion import Note

    failed = [verdict for verdict in verdicts if not verdict.passed]
    said = f"forced past {some(failed, 'gate', 'gates')}" if failed else f"{some(verdicts, 'gate', 'gates')} passed"
    lines = tuple(f"{'passed' if verdict.passed else 'failed'}: {verdict}" for verdict in verdicts)
    return Note(who(), clock.now(), wanted.why or (said if verdicts else "no gates"), uid, bool(failed), lines)


def who() -> str:
    """The person at this machine, as far as it knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"


def _check_database(database: Path | None) -> None:
    if database is not None and not database.exists():
        raise UserError("model", f"nothing is registered: {database} does not exist", "`msm run` makes it, or `msm track sync`")


def _say_refused(run: "MSMRun", alias: str, verdicts: Sequence["Verdict"], screen: Screen) -> None:
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if screen.as_json:
        screen.document({"promoted": False, "alias": alias, "gates": gate_documents(verdicts)})
        return
    show_gates(verdicts, screen)
    screen.say(f"{clean(run.metadata.name)} is not promoted to {alias}: {some(failed, 'gate fails', 'gates fail')}; --force overrules")


def _say_moved(moved: "Moved", verdicts: Sequence["Verdict"], screen: Screen, forced: bool) -> None:
    if screen.as_json:
        screen.document({"promoted": True, "forced": forced, **asdict(moved), "gates": gate_documents(verdicts)})
        return
    show_gates(verdicts, screen)
    if not verdicts:
        screen.say("the run has no registry.gates; nothing was checked")
    screen.say(sentence(moved))


def sentence(moved: "Moved") -> str:
    """What a move did."""
    name = f"{clean(moved.model)}@{moved.alias}"
    if moved.before == moved.after:
        return f"{name} is version {moved.after} already"
    return f"{name} is version {moved.after} now" + (f"; it was {moved.before}" if moved.before is not None else "")


def gate_documents(verdicts: Sequence["Verdict"]) -> list[dict[str, Any]]:
    """Verdicts as JSON."""
    return [asdict(verdict) for verdict in verdicts]


def show_gates(verdicts: Sequence["Verdict"], screen: Screen) -> None:
    """Each gate: metric, what it compares, value, interval, what was needed."""
    from msm.cli.tables import heading, table

    if not verdicts:
        return
    columns = ("", "metric", "arm", "compared to", "value", "interval", "needed")
    rows = (
        (
            "passed" if verdict.passed else "FAILED",
            verdict.metric,
            verdict.arm,
            verdict.versus,
            verdict.note if verdict.value is None else f"{verdict.value:+.3f}",
            "" if verdict.low is None or verdict.high is None else f"{verdict.low:.3f} to {verdict.high:.3f}",
            verdict.needed,
        )
        for verdict in verdicts
    )
    screen.show(heading("gates, in the metric's unit"), table(columns, rows, left=len(columns)))


def roll_back(target: str, alias: str, why: str | None, screen: Screen, environ: Mapping[str, str], directory: Path, clock: Clock) -> None:
    """Move an alias back to the version it named before.

    Raises:
        UserError: there is no such model or alias, or nothing to go back to.
    """
    from msm.cli.upkeep import registered_in
    from msm.tracking import promotion
    from msm.tracking.client import mlflow_errors, open_client

    name, config = registered_in(target, environ, directory)
    assert name is not None, "a target has a name"
    _check_database(config.database)
    with mlflow_errors(config):
        client = open_client(config, dict(environ))
        moved = promotion.roll_back(client, name, alias, promotion.Note(who(), clock.now(), why or "rolled back"))
    if screen.as_json:
        screen.document(asdict(moved))
    else:
        screen.say(sentence(moved))
