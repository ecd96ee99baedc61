"""The door to MLflow: opened quietly, with bounded waits; its errors said in one line.

Neighbours: `projector` and `sync` open it, everything that talks to MLflow gets the client from them. Invariant: no import of MLflow before
`open_client`; no telemetry; a server that does not answer costs one timeout, never MLflow's default of 120 s times 7 retries.
Cost, measured on 2 cores: import 5 s of CPU, a new sqlite file 4.3 s; 236 MB at most.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from msm.errors import MSMError, TryAgain, UserError
from msm.tracking.config import TrackingConfig
from msm.tracking.database import prepare

REQUEST_SECONDS = 10
"""Longest wait for one answer of a server."""
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(REQUEST_SECONDS),
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_QUIET = ("alembic", "mlflow", "sqlalchemy", "urllib3")
_LONGEST_MESSAGE = 300

Client = Any
"""mlflow.MlflowClient; not imported for the type's sake."""


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What MLflow must find in this process's environment: no telemetry, one short wait, silence; and what the user set of it.

    `environ` is the user's environment. Credentials are handed on, never kept.
    """
    chosen = {name: environ[name] for name in (*_DEFAULTS, *_CREDENTIALS) if name in environ}
    return {**_DEFAULTS, **chosen, "MLFLOW_DISABLE_TELEMETRY": "true"}


def open_client(config: TrackingConfig, environ: Mapping[str, str]) -> Client:
    """A client of the configured server or file; imports MLflow, which reads its settings from the process's environment and nowhere else.

    Raises:
        UserError: the sqlite file cannot be made or written.
    """
    os.environ.update(settings(environ))
    from mlflow import MlflowClient

    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    if config.database is not None:
        prepare(config.database, lambda uri: MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1))
    return MlflowClient(tracking_uri=config.uri, registry_uri=config.uri)


@contextmanager
def mlflow_errors(config: TrackingConfig) -> Iterator[None]:
    """Convert everything MLflow and what it stands on may raise.

    Raises:
        UserError: the server refuses the credentials, or the name by which it is called.
        TryAgain: it does not answer, or the file is busy; the message is one line.
    """
    try:
        yield
    except MSMError:
        raise
    except Exception as error:
        text = one_line(error)
        if "Host header" in str(error):
            fix = f"start it with --allowed-hosts {urlsplit(config.uri).netloc}"
            raise UserError("spec.tracking.uri", f"{config.uri} refuses to be called by that name (its Host header)", fix) from error
        if any(code in text for code in ("error code 401", "error code 403", "status code: 401", "status code: 403")):
            raise UserError(
                "spec.tracking.uri",
                f"{config.uri} refuses the credentials",
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            ) from error
        raise TryAgain(f"MLflow at {config.uri}: {text}") from error


def one_line(error: BaseException) -> str:
    """The gist of an error in one line of at most 300 characters: what the system said when it comes to that, else its own first line."""
    said = [e for e in _chain(error) if isinstance(e, TimeoutError) or (isinstance(e, OSError) and e.strerror)]
    if said:
        return "no answer in time" if isinstance(said[-1], TimeoutError) else str(said[-1].strerror)
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return first if len(first) <= _LONGEST_MESSAGE else first[: _LONGEST_MESSAGE - 1] + "…"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it: a refused connection is wrapped four times on its way here."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
