"""`msm status`, `msm results`, `msm logs`: what is kept of runs, read at any time.

Neighbours: `msm.local.records` finds runs and reads what is kept. Invariant: reads only; works while the run goes on, and after it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msm.cli.result_tables import result_tables, results_document
from msm.cli.screen import Screen
from msm.cli.view import RunView, show_view
from msm.cli.words import clean, duration
from msm.clock import Clock
from msm.errors import TryAgain, UserError
from msm.local.eta import remaining_seconds
from msm.local.records import find_run, list_runs, load_results, load_status
from msm.local.status import Phase, RunStatus, StageStatus

if TYPE_CHECKING:
    from msm.local.workspace import Workspace
    from msm.results.rows import Results
    from msm.store.objects import ObjectStore

SILENT = timedelta(seconds=60)
"""Age of a running run's status from which nobody is taken to be at work on it."""


def show_status(target: str, screen: Screen, environ: Mapping[str, str], directory: Path, clock: Clock) -> None:
    """One run: its stages as they were last seen."""
    store, uid, _, run = find_run(target, environ, directory)
    status = load_status(store, uid)
    if status is None:
        raise UserError("run", f"{uid} has not been started in {store.uri}", f"`msm run` starts {run.metadata.name}")
    if screen.as_json:
        screen.document(status_document(status, clock.now()))
        return
    show_view(local_view(status, clock.now()), screen)


def status_document(status: RunStatus, now: datetime) -> dict[str, Any]:
    """The status as JSON, with what is computed from it."""
    computed = {"percentage": status.percentage, "estimatedRemainingSeconds": remaining_seconds(status), "atWork": is_at_work(status, now)}
    return {**status.model_dump(mode="json", by_alias=True), **computed}


def is_at_work(status: RunStatus, now: datetime) -> bool:
    """Whether somebody wrote the status of a running run a moment ago."""
    return status.phase is Phase.RUNNING and abs(now - status.updated) < SILENT


def local_view(status: RunStatus, now: datetime) -> RunView:
    """What is shown of a run of this machine; when it was last heard of, if nobody is at work on it."""
    at_work = is_at_work(status, now)
    silent = status.phase is Phase.RUNNING and not at_work
    return RunView(
        title=status.uid,
        phase=status.phase.value,
        percentage=status.percentage,
        done=status.done,
        total=len(status.stages),
        stages=status.stages,
        remaining=remaining_seconds(status),
        is_at_work=at_work,
        standstill=f"nobody is at work on it since {status.updated:%Y-%m-%d %H:%M} UTC; `msm run` continues" if silent else "",
    )


def list_statuses(store: "ObjectStore | None", screen: Screen, clock: Clock) -> None:
    """All runs of a store, the newest last; None is a store that does not exist yet."""
    uids = [] if store is None else list_runs(store)
    found = [(uid, load_status(store, uid)) for uid in uids] if store is not None else []
    found.sort(key=lambda pair: (pair[1] is not None, pair[1].updated.timestamp() if pair[1] else 0.0, pair[0]))
    if screen.as_json:
        screen.document({"runs": [_summary(uid, status, clock.now()) for uid, status in found]})
    elif not found:
        screen.say("no runs here; `msm run FILE` makes one")
    else:
        from msm.cli.tables import table

        screen.show(table(("run", "phase", "stages", "%", "last seen"), (_run_row(*pair, clock.now()) for pair in found), left=2))


def _summary(uid: str, status: RunStatus | None, now: datetime) -> dict[str, Any]:
    if status is None:
        return {"uid": uid, "run": uid.rpartition("-")[0], "phase": "Accepted"}
    return {
        "uid": uid,
        "run": status.run,
        "phase": status.phase.value,
        "percentage": status.percentage,
        "done": status.done,
        "stages": len(status.stages),
        "updated": status.updated.isoformat(),
        "atWork": is_at_work(status, now),
    }


def _run_row(uid: str, status: RunStatus | None, now: datetime) -> Sequence[str]:
    if status is None:
        return uid, "Accepted", "", "", ""
    interrupted = status.phase is Phase.RUNNING and not is_at_work(status, now)
    phase = "Interrupted" if interrupted else status.phase.value
    ago = duration(max(0.0, (now - status.updated).total_seconds()))
    return uid, phase, f"{status.done}/{len(status.stages)}", f"{status.percentage:.0f}", f"{ago} ago"


def show_results(target: str, screen: Screen, environ: Mapping[str, str], directory: Path, clock: Clock) -> None:
    """One run's results.

    Raises:
        TryAgain: they are being made; UserError: nobody is making them.
    """
    store, uid, _, _ = find_run(target, environ, directory)
    results = load_results(store, uid)
    if results is None:
        status = load_status(store, uid)
        if status is not None and is_at_work(status, clock.now()):
            raise TryAgain(f"{uid} has no results yet: it is {status.percentage:.0f}% done, ETA {duration(remaining_seconds(status))}")
        raise UserError("run", f"{uid} has no results in {store.uri}", f"`msm run {target}` makes them")
    print_results(results, screen)


def print_results(results: "Results", screen: Screen) -> None:
    """Tables, or the JSON document."""
    if screen.as_json:
        screen.document(results_document(results))
    else:
        screen.show(*result_tables(results, screen.console().width))


@dataclass(frozen=True, slots=True)
class Log:
    """One attempt's log."""

    stage: str
    attempt: str
    text: str


def show_logs(target: str, stage: str | None, screen: Screen, environ: Mapping[str, str], directory: Path) -> None:
    """The logs of a run's stages, oldest attempt first."""
    store, uid, workspace, _ = find_run(target, environ, directory)
    status = load_status(store, uid)
    stages = matching(status.stages if status is not None else (), stage)
    print_logs(uid, [log for wanted in stages for log in stage_logs(store, uid, workspace, wanted)], screen)


def print_logs(uid: str, logs: Sequence[Log], screen: Screen) -> None:
    """Logs one below the other, or as JSON."""
    if screen.as_json:
        screen.document({"run": uid, "logs": [{"stage": log.stage, "attempt": log.attempt, "text": log.text} for log in logs]})
        return
    for log in logs:
        screen.say(f"== {clean(log.stage)}, {log.attempt}")
        for line in log.text.splitlines():
            screen.say(_printable(line))
    if not logs:
        screen.warn("no log yet: the stages that were asked for have not run here")


def matching(stages: Sequence[StageStatus], wanted: str | None) -> Sequence[StageStatus]:
    """The stage of that name; else those whose kind it is or whose name contains it; all without one.

    Raises:
        UserError: there is none.
    """
    if wanted is None:
        return stages
    found = [s for s in stages if s.name == wanted] or [s for s in stages if wanted == s.kind or wanted in s.name]
    if not found:
        names = ", ".join(s.name for s in stages) or "none that has started"
        raise UserError("--stage", f'no stage is called "{wanted}"; this run has: {names}', "name one of them, or a kind")
    return found


def stage_logs(store: "ObjectStore", uid: str, workspace: "Workspace", stage: StageStatus) -> Iterator[Log]:
    """What attempts at a stage wrote: kept beside its artifact, kept with the run where they failed, and being written now."""
    yield from kept_logs(store, uid, stage)
    for path in sorted(workspace.scratch.glob(f"{_short(stage)}-*/logs/**/stderr.log")):
        yield Log(stage.name, "now running", path.read_text(encoding="utf-8", errors="replace"))


def _short(stage: StageStatus) -> str:
    return f"{stage.kind}-{stage.fingerprint[:12]}"


def kept_logs(store: "ObjectStore", uid: str, stage: StageStatus) -> Iterator[Log]:
    """What a store keeps of attempts at a stage."""
    for prefix, ending in ((f"{stage.kind}/{stage.fingerprint}/attempts/", "/log.txt"), (f"runs/{uid}/logs/{_short(stage)}", ".log")):
        for key in sorted(info.key for info in store.list(prefix) if info.key.endswith(ending)):
            yield Log(stage.name, _attempt_name(key), store.get(key).decode("utf-8", "replace"))


def _attempt_name(key: str) -> str:
    parts = key.split("/")
    return f"attempt {parts[3]}" if parts[-1] == "log.txt" else f"failed attempt {parts[-1].removesuffix('.log').rpartition('-')[2]}"


def _printable(line: str) -> str:
    return "".join(c for c in line.expandtabs() if c.isprintable())
