"""How a process is told its store: one URI, an endpoint, credentials; from the environment and back into a child's environment.

Neighbours: executors write it for stage programs, `open_store` is the only place that knows which schemes exist. Invariant: secrets are
in no repr, no error and no URI. Cost: opening an `s3://` store imports minio (about a second) and makes two or three small requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from msm.clock import Clock, SystemClock
from msm.errors import UserError
from msm.store.files import open_file_store
from msm.store.objects import ObjectStore
from msm.store.probe import check_conditional_put

VARIABLES = {
    "uri": "MSM_STORE_URI",
    "endpoint": "MSM_STORE_ENDPOINT",
    "region": "MSM_STORE_REGION",
    "ca_file": "MSM_STORE_CA_FILE",
    "access_key": "AWS_ACCESS_KEY_ID",
    "secret_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}
"""Field -> environment variable; part of the stage contract."""


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where the store is and how to reach it. Everything after `uri` is for `s3://` only.

    `endpoint` is a URL (default: AWS), `ca_file` a PEM bundle for endpoints with a private authority.
    """

    uri: str
    endpoint: str | None = None
    region: str | None = None
    ca_file: Path | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "StoreConfig":
        """Read `VARIABLES`; empty counts as unset; UserError without a URI."""
        found = {name: environ[variable] for name, variable in VARIABLES.items() if environ.get(variable)}
        if "uri" not in found:
            raise UserError("MSM_STORE_URI", "is not set", "set it to file:///some/directory or s3://bucket/prefix")
        ca_file = found.pop("ca_file", None)
        return cls(ca_file=Path(ca_file) if ca_file else None, **found)

    def to_environ(self) -> dict[str, str]:
        """What `from_environ` reads back; with secrets, so only for a child's environment."""
        return {variable: str(value) for name, variable in VARIABLES.items() if (value := getattr(self, name)) is not None}


def open_store(config: StoreConfig, clock: Clock | None = None) -> ObjectStore:
    """The store behind a configuration, known to be writable and to have exactly one winner per key.

    Raises:
        UserError: unknown scheme, unwritable directory, wrong credentials, missing bucket, a server without conditional put.
        TryAgain: the server does not answer.
    """
    parts = _split(config.uri)
    if parts.scheme == "file":
        store: ObjectStore = open_file_store(_directory(parts))
    elif parts.scheme == "s3":
        from msm.store.s3 import open_s3_store  # minio costs a second to import

        store = open_s3_store(config, clock or SystemClock())
    else:
        raise UserError(
            "storage.uri", f'"{config.uri}" has the unknown scheme "{parts.scheme}"', "use file:///absolute/directory or s3://bucket/prefix"
        )
    check_conditional_put(store)
    return store


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise UserError("storage.uri", f"is no URI: {error}", "use file:///absolute/directory or s3://bucket/prefix") from error
    if parts.username is not None or parts.password is not None:
        raise UserError("storage.uri", "carries credentials", "put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead")
    return parts


def _directory(parts: SplitResult) -> Path:
    if parts.netloc or not parts.path.startswith("/"):
        raise UserError("storage.uri", f'"{parts.geturl()}" names no absolute directory', "write three slashes: file:///absolute/directory")
    return Path(unquote(parts.path))
