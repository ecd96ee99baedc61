"""One command against one cluster: the connection, what was typed, and the run's documents in its store.

Neighbours: `cluster_commands` opens one, `reading`, `steering` and `submitting` use it. Invariant: what is printed as the next command can
be copied; a store is opened when something of it is needed, and its documents are believed when its plan is the one that the cluster runs.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from msm.cli.cluster_options import PLUGIN
from msm.cli.screen import Screen
from msm.clock import Clock
from msm.cluster.connection import Requests, Where
from msm.cluster.objects import RunObject, Standing
from msm.cluster.runs import get_run
from msm.cluster.storage import store_config
from msm.errors import TryAgain, UserError
from msm.local.accept import read_plan
from msm.local.records import load_results, load_status

if TYPE_CHECKING:
    from msm.local.status import RunStatus
    from msm.results.rows import Results
    from msm.store.objects import ObjectStore

Document = TypeVar("Document")


@dataclass(frozen=True, slots=True)
class Remote:
    """What every command against a cluster has at hand. `program` is what the user types, `flags` what leads to this cluster again."""

    requests: Requests
    screen: Screen
    environ: Mapping[str, str]
    directory: Path
    clock: Clock
    program: str
    flags: str

    def typed(self, command: str, *arguments: str) -> str:
        """A command line that speaks with the same cluster."""
        return " ".join([self.program, command, *map(shlex.quote, arguments)]) + self.flags

    def run(self, target: str) -> RunObject:
        """The run that a command line means: a file's, or the one of that name."""
        return get_run(self.requests, _name(target))


def open_remote(where: Where, target: str | None, program: str, screen: Screen, environ: Mapping[str, str], clock: Clock) -> Remote:
    """Connect with the cluster that was asked for, in the namespace that was asked for or that the file names.

    Raises:
        UserError: no such context, or the command line and the file name different namespaces.
    """
    from msm.cluster.connection import connect

    namespace = _namespace(where.namespace, target)
    requests = connect(replace(where, namespace=namespace), environ)
    named = replace(where, namespace=namespace, context=where.context if program == PLUGIN else requests.place.context)
    return Remote(requests, screen, environ, Path.cwd(), clock, program, _flags(named))


def _flags(where: Where) -> str:
    pairs = (("--context", where.context), ("--namespace", where.namespace), ("--kubeconfig", where.kubeconfig))
    return "".join(f" {name} {shlex.quote(str(value))}" for name, value in pairs if value is not None)


def _name(target: str) -> str:
    if not Path(target).is_file():
        return target
    from msm.api import load_run

    return load_run(Path(target)).metadata.name


def _namespace(asked: str | None, target: str | None) -> str | None:
    if target is None or not Path(target).is_file():
        return asked
    from msm.api import load_run

    written = load_run(Path(target)).metadata.namespace
    if asked is not None and written is not None and asked != written:
        raise UserError("--namespace", f'is "{asked}", and {target} says metadata.namespace: {written}', "remove one of them")
    return asked or written


@dataclass(frozen=True, slots=True)
class Documents:
    """A run's documents: `runs/<record>/` of a store whose plan is the one that the cluster executes."""

    store: "ObjectStore"
    record: str

    def status(self) -> "RunStatus | None":
        """The status that the operator keeps there, or None.

        Raises:
            UserError: another version of the platform wrote it.
        """
        return _understood(self.record, lambda: load_status(self.store, self.record))

    def results(self) -> "Results | None":
        """The results, or None while there are none.

        Raises:
            UserError: another version of the platform wrote them.
        """
        return _understood(self.record, lambda: load_results(self.store, self.record))


def documents_of(remote: Remote, run: RunObject) -> Documents:
    """Where a run's documents are.

    Raises:
        UserError: it has none, or the store that is named here is not its store; TryAgain: it has none yet, or the store is silent.
    """
    from msm.store import open_store

    record = run.record
    if record is None:
        raise _no_documents(run)
    store = open_store(store_config(run.spec.get("storage"), remote.environ))
    plan = _understood(record, lambda: read_plan(store, record))
    if plan is None or run.plan_digest not in (None, plan.digest):
        problem = f"has {'no plan' if plan is None else 'another plan'} of {record} in runs/"
        raise UserError(store.uri, problem, "set MSM_STORE_URI (and MSM_STORE_ENDPOINT) to the store that the cluster uses")
    return Documents(store, record)


def _understood(record: str, read: Callable[[], Document]) -> Document:
    """What a reader of a record returns."""
    try:
        return read()
    except ValidationError as error:
        problem = f"was written by another version of the platform ({error.error_count()} differences)"
        raise UserError(f"runs/{record}", problem, "use the version of msm that the cluster runs") from error


def _no_documents(run: RunObject) -> TryAgain | UserError:
    if run.standing is Standing.REFUSED:
        return UserError("run", f'"{run.name}" was not accepted: {run.why}', "mend the file, then submit it under another name")
    return TryAgain(f'run "{run.name}" is not accepted yet{f" ({run.why})" if run.why else ""}')
