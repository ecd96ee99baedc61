"""What the chart tells the preflight by environment.

Neighbours: `charts/msm/templates/preflight.yaml` writes it. Invariant: no repr shows a credential.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from msm.errors import UserError
from msm.store import StoreConfig


@dataclass(frozen=True, slots=True)
class Settings:
    """What to look at, and for how long."""

    namespace: str
    seconds: float
    required: frozenset[str]
    images: tuple[str, ...]
    store: StoreConfig | None
    store_secret: str
    tracking_uri: str
    tracking_header: str = field(repr=False)
    """Authorization for MLflow; empty where there is none."""
    tracking_secret: str


def settings_of(environ: Mapping[str, str]) -> Settings:
    """Read the environment.

    Raises:
        UserError: a variable is missing or is no number.
    """
    if not environ.get("POD_NAMESPACE"):
        raise UserError("POD_NAMESPACE", "is not set", "set it to the namespace of the release")
    seconds = environ.get("MSM_PREFLIGHT_SECONDS", "240")
    if not seconds.isdecimal():
        raise UserError("MSM_PREFLIGHT_SECONDS", f'"{seconds}" is no number of seconds', "give a whole number")
    return Settings(
        namespace=environ["POD_NAMESPACE"],
        seconds=float(seconds),
        required=frozenset(_words(environ, "MSM_PREFLIGHT_REQUIRED")),
        images=_words(environ, "MSM_PREFLIGHT_IMAGES"),
        store=StoreConfig.from_environ(environ) if environ.get("MSM_STORE_URI") else None,
        store_secret=environ.get("MSM_STORE_SECRET", "msm-store"),
        tracking_uri=environ.get("MSM_TRACKING_URI", "").rstrip("/"),
        tracking_header=_authorization(environ),
        tracking_secret=environ.get("MSM_TRACKING_SECRET", ""),
    )


def _words(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(filter(None, environ.get(name, "").split(",")))


def _authorization(environ: Mapping[str, str]) -> str:
    """As MLflow's own client has it: a token, or a name with its password."""
    from base64 import b64encode

    if environ.get("MLFLOW_TRACKING_TOKEN"):
        return f"Bearer {environ['MLFLOW_TRACKING_TOKEN']}"
    if environ.get("MLFLOW_TRACKING_USERNAME"):
        pair = f"{environ['MLFLOW_TRACKING_USERNAME']}:{environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return f"Basic {b64encode(pair.encode()).decode()}"
    return ""
