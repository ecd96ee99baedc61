"""The door to MLflow: opened quietly, with bounded waits; its errors said in one line.

Neighbours: `projector` and `sync` open it, everything that talks to MLflow gets the client from them. Invariant: no import of MLflow before
`open_client`; no telemetry; a server that does not answer costs one timeout, never MLflow's default of 120 s times 7 retries.
Cost, measured on 2 cores: import 5.4 s of CPU and 150 MB; a new sqlite file 4.2 s of CPU (its schema is built by 60 migrations).
"""

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msm.errors import MSMError, TryAgain, UserError
from msm.tracking.config import TrackingConfig

REQUEST_SECONDS = 10
"""Longest wait for one answer of a server."""
_QUIET = ("alembic", "mlflow", "sqlalchemy", "urllib3")
_LONGEST_MESSAGE = 300

Client = Any
"""mlflow.MlflowClient; not imported for the type's sake."""


def set_environment(environ: MutableMapping[str, str]) -> None:
    """What MLflow reads from the environment: no telemetry, one short wait, no progress bars. Other waits that the user set stay."""
    environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_SECONDS))
    environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


def open_client(config: TrackingConfig, environ: MutableMapping[str, str]) -> Client:
    """A client of the configured server or file; imports MLflow. `environ` must be the process's own: MLflow reads it.

    Raises:
        UserError: the sqlite file's directory cannot be made.
    """
    set_environment(environ)
    if config.database is not None:
        _make_directory(config.database.parent)
    from mlflow import MlflowClient

    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=config.uri, registry_uri=config.uri)


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError("spec.tracking.uri", f"{path} cannot be made ({error.strerror})", "choose a directory you can write to") from error


@contextmanager
def mlflow_errors(config: TrackingConfig) -> Iterator[None]:
    """Convert everything MLflow and what it stands on may raise.

    Raises:
        UserError: the server refuses the credentials.
        TryAgain: it does not answer, or the file is busy; the message is one line.
    """
    try:
        yield
    except MSMError:
        raise
    except Exception as error:
        text = one_line(error)
        if any(code in text for code in ("error code 401", "error code 403", "status code: 401", "status code: 403")):
            raise UserError(
                "spec.tracking.uri",
                f"{config.uri} refuses the credentials",
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            ) from error
        raise TryAgain(f"MLflow at {config.uri}: {text}") from error


def one_line(error: BaseException) -> str:
    """The gist of an error: its root cause's first line, at most 300 characters."""
    text = str(_root(error)).strip() or type(error).__name__
    first = text.splitlines()[0]
    return first if len(first) <= _LONGEST_MESSAGE else first[: _LONGEST_MESSAGE - 1] + "…"


def _root(error: BaseException) -> BaseException:
    """The innermost error that says something a person can act on: connection errors wrap each other four deep."""
    inner = error.__cause__ or error.__context__
    return _root(inner) if isinstance(inner, OSError) and str(inner) else error
