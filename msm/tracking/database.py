"""The local MLflow database: made whole or not at all, and known to be writable before MLflow touches it.

Neighbours: `client` calls `prepare` before it opens a sqlite address. Why: MLflow builds a new file by 67 migrations in 4 s of CPU,
and a process killed meanwhile leaves one that no MLflow opens again; and a file MLflow cannot open it retries with doubling pauses, for an
hour. Invariant: under its own name the file is always complete. Cost once it exists: one lock that is given back.
"""

import fcntl
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from msm.errors import TryAgain, UserError
from msm.tracking.config import SQLITE

_FIELD = "spec.tracking.uri"
_BUSY_SECONDS = 5.0


def prepare(database: Path, build: Callable[[str], object]) -> None:
    """Make the file when there is none; `build` makes MLflow create one at the address it is given.

    Raises:
        UserError: the directory or the file cannot be written, or the file is something else.
        TryAgain: another process holds it.
    """
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        if not database.exists() or database.stat().st_size == 0:
            _create(database, build)
    except OSError as error:
        raise UserError(_FIELD, f"{database} cannot be written ({error.strerror})", "choose a directory you can write to") from error
    _check_writable(database)


def _create(database: Path, build: Callable[[str], object]) -> None:
    partial = database.with_name(f".{database.name}.new")
    with _only_process(database.with_name(f".{database.name}.lock")):
        if database.exists() and database.stat().st_size > 0:
            return
        partial.unlink(missing_ok=True)
        build(f"{SQLITE}{partial}")
        partial.replace(database)


@contextmanager
def _only_process(lock: Path) -> Iterator[None]:
    """Hold a lock that the system takes back from a process that dies."""
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _check_writable(database: Path) -> None:
    try:
        with closing(sqlite3.connect(database, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            raise TryAgain(f"{database} is busy: {error}") from error
        raise UserError(
            _FIELD, f"{database} is not a database this process can write ({error})", "move it away; it is rebuilt from the store"
        ) from error
