"""Where a run is tracked, and how a person opens it.

Pure. Neighbours: `client` opens what this names, the command line prints `ui_command`. Invariant: a configuration never holds a secret;
MLflow itself reads MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD from the environment.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from msm.api import MSMRun
from msm.errors import UserError

SQLITE = "sqlite:///"
_FIELD = "spec.tracking.uri"


@dataclass(frozen=True, slots=True)
class TrackingConfig:
    """One MLflow experiment: http(s) address or `sqlite:////absolute/file.db`, and where artifacts go (None: the server decides)."""

    uri: str
    experiment: str
    artifacts: Path | None = None

    @property
    def database(self) -> Path | None:
        """The sqlite file, or None for a server."""
        return Path(self.uri.removeprefix(SQLITE)) if self.uri.startswith(SQLITE) else None


def tracking_config(run: MSMRun, state_dir: Path, environ: Mapping[str, str]) -> TrackingConfig:
    """What the run file says, else MSM_TRACKING_URI, else a sqlite file in the state directory.

    A relative sqlite path is taken from the directory that holds the state directory.

    Raises:
        UserError: a scheme MLflow cannot be reached by, or a password in the address.
    """
    tracking = run.spec.tracking
    experiment = tracking.experiment if tracking is not None and tracking.experiment else run.metadata.name
    uri = tracking.uri if tracking is not None and tracking.uri else environ.get("MSM_TRACKING_URI", "")
    field = _FIELD if tracking is not None and tracking.uri else "MSM_TRACKING_URI"
    if not uri:
        return _sqlite(state_dir / "mlflow.db", experiment)
    if uri.startswith(SQLITE):
        return _sqlite(state_dir.parent / uri.removeprefix(SQLITE), experiment)
    return TrackingConfig(_server(uri, field), experiment)


def _sqlite(database: Path, experiment: str) -> TrackingConfig:
    database = database.resolve()
    if "?" in str(database):
        raise UserError(_FIELD, f'"{database}" contains "?", which a sqlite address cannot', "choose another directory")
    return TrackingConfig(f"{SQLITE}{database}", experiment, database.parent / "mlartifacts")


def _server(uri: str, field: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = f"{parts.scheme}://…" if "@" in uri else f'"{uri}"'
        raise UserError(field, f"{shown} is not an http(s) address or sqlite:///file", "give one of them, or leave it out for a local file")
    if parts.username is not None or parts.password is not None or parts.query:
        raise UserError(
            field,
            "holds a user, password or query; run files are shared and must not",
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment",
        )
    return uri.rstrip("/")


def ui_command(config: TrackingConfig, program: str = "mlflow") -> str:
    """What to type to see the runs: a shell command for a sqlite file, the address for a server.

    One worker and no job runner: by default MLflow 3.17 runs fifteen processes in 3 GB, mostly for what a reader does not use.
    """
    if config.database is None:
        return config.uri
    settings = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true"
    return f"{settings} {shlex.quote(program)} ui --workers 1 --backend-store-uri {shlex.quote(config.uri)}"
