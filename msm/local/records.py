"""What is kept of runs in the store, and how a command finds one.

`runs/<uid>/`: run.json and plan.json (written once), status.json and results.json (replaced), logs/. Neighbours: `session` writes,
`cli` reads. Invariant: everything here can be read while the run goes on.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from msm.api import MSMRun, load_run
from msm.errors import UserError
from msm.local.accept import run_uid
from msm.local.status import RunStatus
from msm.local.workspace import Workspace, workspace
from msm.results.rows import Results
from msm.store import ObjectNotFound, ObjectStore, open_store


def load_status(store: ObjectStore, uid: str) -> RunStatus | None:
    """The last status of a run, or None when it never started."""
    data = _read(store, f"runs/{uid}/status.json")
    return None if data is None else RunStatus.model_validate_json(data)


def load_results(store: ObjectStore, uid: str) -> Results | None:
    """The results of a run, or None while there are none."""
    data = _read(store, f"runs/{uid}/results.json")
    return None if data is None else Results.model_validate_json(data)


def load_accepted_run(store: ObjectStore, uid: str) -> MSMRun | None:
    """The run as it was accepted."""
    data = _read(store, f"runs/{uid}/run.json")
    if data is None:
        return None
    try:
        return MSMRun.model_validate_json(data)
    except ValidationError as error:
        raise UserError(
            f"runs/{uid}/run.json", f"was written by another version of msm ({error.error_count()} errors)", "use that"
        ) from error


def list_runs(store: ObjectStore) -> list[str]:
    """Uids of all runs in a store."""
    return sorted({info.key.split("/")[1] for info in store.list("runs/") if info.key.endswith("/plan.json")})


def find_run(target: str, environ: Mapping[str, str], directory: Path) -> tuple[ObjectStore, str, Workspace, MSMRun]:
    """The run that a command line means: a run file, a uid, or a name that one run in the store has.

    Raises:
        UserError: there is none, or a name stands for several.
    """
    space = workspace(environ, directory)
    if Path(target).is_file():
        run = load_run(Path(target))
        return open_store(space.store_config(run, environ)), run_uid(run, Path(target).parent), space, run
    store = open_store(space.default_config(environ))
    uids = list_runs(store)
    matches = [uid for uid in uids if uid == target or uid.rpartition("-")[0] == target]
    if len(matches) != 1:
        problem = f'"{target}" is {"no run" if not matches else "the name of several runs"}; this store has: {", ".join(uids) or "none"}'
        raise UserError("run", problem, "name a run file or one of these")
    found = load_accepted_run(store, matches[0])
    if found is None:
        raise UserError(f"runs/{matches[0]}", "has a plan but no run.json", "run its file again")
    return store, matches[0], space, found


def _read(store: ObjectStore, key: str) -> bytes | None:
    try:
        return store.get(key)
    except ObjectNotFound:
        return None
