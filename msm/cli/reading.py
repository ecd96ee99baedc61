"""`msm status`, `logs`, `results`, `report` of runs in a cluster: the words of the local commands.

Neighbours: `inspecting` and `reporting` do the same for runs of this machine, and print what is read here. Invariant: reads only; what the
store cannot say, for want of credentials, the resource's status says in short.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msm.cli.cluster_view import cluster_document, cluster_view
from msm.cli.inspecting import Log, kept_logs, matching, print_logs, print_results
from msm.cli.remote import Documents, Remote, documents_of
from msm.cli.view import RunView, show_view
from msm.cli.watching import watch
from msm.cli.words import clean, duration
from msm.cluster.objects import OVER, RunObject, Standing
from msm.cluster.pods import PodLog, StagePod, pod_log, stage_pods
from msm.cluster.runs import list_runs
from msm.cluster.storage import is_known
from msm.errors import MSMError, TryAgain, UserError
from msm.local.records import load_accepted_run
from msm.local.status import RunStatus, StageStatus, State

STORE_SECONDS = 60.0
"""Until a store that could not be read is asked again: its silence must not hold up the watching."""


@dataclass(slots=True)
class Looking:
    """Looks at one run; remembers its opened store, or why there is none."""

    remote: Remote
    target: str
    documents: Documents | None = None
    note: str = ""
    silent_until: float = float("-inf")
    last: RunObject = field(init=False)

    def view(self) -> RunView:
        """The run as it is now."""
        self.last = self.remote.run(self.target)
        kept = self._kept()
        return cluster_view(self.last, kept, (self.note,) if self.note and self.last.record else ())

    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return self.last.standing in (*OVER, Standing.REFUSED)

    def _kept(self) -> RunStatus | None:
        """The status that the store has; None without a store that answers."""
        if self.last.record is None or not is_known(self.last.spec.get("storage"), self.remote.environ):
            return None
        if self.remote.clock.monotonic() < self.silent_until:
            return None
        try:
            self.documents = self.documents or documents_of(self.remote, self.last)
            status = self.documents.status()
        except MSMError as error:
            self.note = f"without details from the store: {error}"
            self.silent_until = self.remote.clock.monotonic() + STORE_SECONDS
            return None
        self.note = ""
        return status


def status(remote: Remote, target: str | None, watched: bool) -> None:
    """One run, or all of the namespace."""
    if target is None:
        list_statuses(remote)
    else:
        show_status(remote, target, watched)


def show_status(remote: Remote, target: str, watched: bool) -> None:
    """One run, once or until it is over."""
    looking = Looking(remote, target)
    if watched and not remote.screen.as_json:
        watch(lambda: (looking.view(), looking.is_over()), remote.screen, remote.clock)
        return
    view = looking.view()
    if remote.screen.as_json:
        remote.screen.document(cluster_document(looking.last, view, remote.requests.place.context))
    else:
        show_view(view, remote.screen)


def list_statuses(remote: Remote) -> None:
    """All runs of the namespace."""
    found = [(run, cluster_view(run, None)) for run in list_runs(remote.requests)]
    if remote.screen.as_json:
        place = remote.requests.place
        remote.screen.document({"runs": [cluster_document(run, view, place.context) for run, view in found]})
    elif not found:
        remote.screen.say(f"no runs in namespace {remote.requests.place.namespace}; `{remote.typed('submit', 'FILE')}` makes one")
    else:
        from msm.cli.tables import table

        remote.screen.show(table(("run", "phase", "stages", "%", "ETA"), (_row(*pair) for pair in found), left=2))


def _row(run: RunObject, view: RunView) -> Sequence[str]:
    stages = f"{view.done}/{view.total}" if view.total else ""
    return run.name, view.phase, stages, f"{view.percentage:.0f}", duration(view.remaining) if view.is_at_work else ""


def show_logs(remote: Remote, target: str, stage: str | None) -> None:
    """What stages printed: their pods' logs, and what the store keeps of stages whose pods are gone."""
    run = remote.run(target)
    documents, status = _documents(remote, run)
    pods = _pods(remote, run)
    wanted = matching(_stages(status, pods), stage)
    logs = [log for one in wanted for log in _stage_logs(remote, documents, one, pods)]
    print_logs(run.record or run.name, logs, remote.screen)


def _documents(remote: Remote, run: RunObject) -> tuple[Documents | None, RunStatus | None]:
    """The run's documents, where they can be had; logs of pods can do without."""
    if not is_known(run.spec.get("storage"), remote.environ) or run.record is None:
        return None, None
    try:
        documents = documents_of(remote, run)
        return documents, documents.status()
    except MSMError as error:
        remote.screen.warn(f"without logs from the store: {clean(str(error))}")
        return None, None


def _pods(remote: Remote, run: RunObject) -> list[StagePod]:
    try:
        return stage_pods(remote.requests, run)
    except UserError as error:
        remote.screen.warn(f"without logs of pods: {clean(str(error))}")
        return []


def _stages(status: RunStatus | None, pods: Sequence[StagePod]) -> Sequence[StageStatus]:
    """The stages of a plan, or those that have pods."""
    if status is not None:
        return status.stages
    found = {pod.fingerprint: StageStatus(name=pod.stage, kind=pod.kind, fingerprint=pod.fingerprint) for pod in pods}
    return tuple(found.values())


def _stage_logs(remote: Remote, documents: Documents | None, stage: StageStatus, pods: Sequence[StagePod]) -> Iterator[Log]:
    own = [pod_log(remote.requests, pod) for pod in pods if pod.fingerprint and stage.fingerprint.startswith(pod.fingerprint)]
    logs = [log for log in own if not log.why_not]
    yield from (Log(stage.name, _pod_words(log), log.text) for log in logs)
    if not logs and documents is not None:
        yield from kept_logs(documents.store, documents.record, stage)
    for log in own:
        if log.why_not and stage.state is not State.DONE:
            remote.screen.warn(f"{clean(stage.name)}, {_pod_words(log)}: no log: {clean(log.why_not)}")


def _pod_words(log: PodLog) -> str:
    return f"attempt {log.pod.attempt}, pod {log.pod.name}"


def show_results(remote: Remote, target: str) -> None:
    """One run's results.

    Raises:
        TryAgain: they are being made; UserError: there will be none, or the store cannot be read.
    """
    run = remote.run(target)
    documents = documents_of(remote, run)
    results = documents.results()
    if results is None:
        raise _no_results(remote, run)
    print_results(results, remote.screen)


def _no_results(remote: Remote, run: RunObject) -> TryAgain | UserError:
    view = cluster_view(run, None)
    if run.standing in OVER:
        return UserError("run", f"{run.name} has no results: {run.why}", f"`{remote.typed('logs', run.name)}` says more")
    return TryAgain(f"{run.name} has no results yet: it is {view.percentage:.0f}% done, ETA {duration(view.remaining)}")


def write_report(remote: Remote, target: str, out: Path | None, is_opened: bool) -> None:
    """Compose a run's report from its store and write it here."""
    from msm.cli.reporting import Found, report_found
    from msm.local.workspace import workspace

    documents = documents_of(remote, remote.run(target))
    run = load_accepted_run(documents.store, documents.record)
    if run is None:
        raise UserError(f"runs/{documents.record}", "has a plan but no run.json", "its records were damaged; submit the run again")
    found = Found(documents.store, documents.record, workspace(remote.environ, remote.directory), run)
    report_found(found, target, out, is_opened, remote.screen)
