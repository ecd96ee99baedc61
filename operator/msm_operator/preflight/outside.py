"""The store and MLflow, asked once as the operator will ask them.

Blocking, for threads. Neighbours: `findings` says what a finding is. Invariants: a server that is silent is asked again until the time is
over; no credential is in a finding. Cost: the store's own probe, a few small objects.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from msm.clock import Clock
from msm.errors import MSMError, TryAgain, UserError
from msm.store import ObjectStore, StoreConfig, open_store
from msm_operator.preflight.findings import Finding
from msm_operator.preflight.settings import Settings

PAUSE = 5.0
PROBE = "preflight/probe"
ASKED = "/api/2.0/mlflow/experiments/search?max_results=1"


def store_findings(settings: Settings, clock: Clock, opener: Callable[[StoreConfig], ObjectStore] = open_store) -> list[Finding]:
    """Whether the store can be reached, read and written."""
    config = settings.store
    if config is None:
        return [Finding("warning", "store.uri", "is not set: every run must bring a store of its own (spec.storage)")]
    problem = _missing(settings, config)
    if problem is not None:
        return [problem]
    try:
        _patiently(lambda: _write(config, opener), settings.seconds, clock)
    except TryAgain as error:
        return [Finding("failed", "store.endpoint", f"{error}; check store.endpoint, and that pods of {settings.namespace} may reach it")]
    except UserError as error:
        return [Finding("failed", _value_of(error), f"{error} (Secret {settings.store_secret} in {settings.namespace})")]
    except MSMError as error:
        return [Finding("failed", "store", str(error))]
    return [Finding("ok", "store.uri", f"{config.uri} can be read and written")]


def _missing(settings: Settings, config: StoreConfig) -> Finding | None:
    absent = [
        name for name, value in (("AWS_ACCESS_KEY_ID", config.access_key), ("AWS_SECRET_ACCESS_KEY", config.secret_key)) if value is None
    ]
    if absent:
        where = f"-n {settings.namespace} create secret generic {settings.store_secret}"
        keys = "--from-literal=AWS_ACCESS_KEY_ID=… --from-literal=AWS_SECRET_ACCESS_KEY=…"
        said = f"there is no Secret {settings.store_secret} with {' and '.join(absent)} in namespace {settings.namespace}"
        return Finding("failed", "store.secretName", f"{said}; kubectl {where} {keys}")
    if config.ca_file is not None and not config.ca_file.is_file():
        said = f"there is no ConfigMap of that name with ca.crt in namespace {settings.namespace}"
        return Finding("failed", "store.caConfigMap", f"{said}; make it: kubectl create configmap NAME --from-file=ca.crt=FILE")
    return None


def _write(config: StoreConfig, opener: Callable[[StoreConfig], ObjectStore]) -> None:
    """Opening proves conditional put; writing, reading and deleting, the rest."""
    store = opener(config)
    store.put(PROBE, b"preflight")
    store.get(PROBE)
    store.delete(PROBE)


def _patiently(what: Callable[[], None], seconds: float, clock: Clock) -> None:
    until = clock.monotonic() + seconds
    while True:
        try:
            what()
        except TryAgain:
            if clock.monotonic() + PAUSE > until:
                raise
            clock.sleep(PAUSE)
        else:
            return


def _value_of(error: UserError) -> str:
    """The chart's value that an error of the store is about."""
    if "certificate" in error.problem:
        return "store.caConfigMap"
    if "credentials" in error.problem:
        return "store.secretName"
    return "store.uri" if error.field.startswith("s3://") else "store.endpoint"


def secret_findings(settings: Settings) -> list[Finding]:
    """Whether the Secret of MLflow is there, where the chart names one."""
    if not settings.tracking_secret or settings.tracking_header:
        return []
    keys = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN,"
    said = f"there is no Secret {settings.tracking_secret} with {keys} in namespace {settings.namespace}"
    return [Finding("failed", "tracking.secretName", f"{said}; make it, or leave tracking.secretName empty")]


def tracking_findings(settings: Settings) -> list[Finding]:
    """Whether MLflow takes our requests. That it is silent is no failure: runs do not wait for it."""
    if not settings.tracking_uri:
        return [Finding("warning", "tracking.uri", "is not set: runs are shown in their reports alone, EvalDeployments follow nothing")]
    from urllib3 import PoolManager, Timeout
    from urllib3.exceptions import HTTPError

    headers = {"Authorization": settings.tracking_header} if settings.tracking_header else {}
    try:
        http = PoolManager(retries=False, timeout=Timeout(connect=5, read=20))
        reply = http.request("GET", settings.tracking_uri + ASKED, headers=headers, redirect=False)
    except HTTPError as error:
        said = str(error).rpartition(": ")[2]
        return [Finding("warning", "tracking.uri", f"{settings.tracking_uri} does not answer ({said}); runs go on and are shown later")]
    return [_answered(settings.tracking_uri, reply.status, reply.data[:500].decode(errors="replace"))]


def _answered(uri: str, status: int, text: str) -> Finding:
    host = urlsplit(uri).netloc
    if status == 200:
        return Finding("ok", "tracking.uri", f"MLflow at {uri} answers")
    if status == 403 and "Host header" in text:
        return Finding("failed", "tracking.uri", f"MLflow at {uri} refuses the Host header {host}; start it with --allowed-hosts {host}")
    if status in (401, 403):
        return Finding("failed", "tracking.secretName", f"MLflow at {uri} refuses the credentials ({status}); check the Secret's keys")
    if status >= 500:
        return Finding("warning", "tracking.uri", f"MLflow at {uri} answers {status}; runs go on and are shown later")
    return Finding("failed", "tracking.uri", f"{uri} answers {status} and is no MLflow; give the server's address without /api")
