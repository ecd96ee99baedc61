"""The store in a bucket: `s3://bucket/prefix`, through the minio client.

Neighbours: implements `objects.ObjectStore`; imported only when such a store is opened, because minio costs a second. Invariant:
creation is decided by the server (`If-None-Match: *`), never by looking first. The conditional put is a presigned URL of the public
API plus a plain header: `put_object(metadata={"If-None-Match": "*"})` is silently stored as user metadata and overwrites, and the
client's `_put_object` is private. Cost: a request an object; a file larger than a part (16 MiB) goes up in parallel parts.
"""

import base64
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

import certifi
from minio import Minio
from urllib3 import BaseHTTPResponse, PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError, SSLError

from msm.clock import Clock
from msm.errors import TryAgain, UserError
from msm.store.config import StoreConfig
from msm.store.objects import ObjectInfo, ObjectNotFound, check_key, check_prefix
from msm.store.s3_errors import converted, error_of_code
from msm.store.writing import CHUNK, atomic_file, storage_errors

T = TypeVar("T")
AWS = "https://s3.amazonaws.com"
_PART_BYTES = 16 << 20
_PRESIGNED_FOR = timedelta(minutes=15)
"""As long as S3 tolerates clocks to differ."""
_PAUSES = (0.2, 0.8, 3.0)
"""Seconds between tries of what the client library does not try again by itself."""


class _Answer(Enum):
    CREATED = "created"
    EXISTS = "exists"
    BUSY = "not done, because somebody else is at it"
    UNKNOWN = "no answer, or an error after which it may or may not have been created"


class S3Store:
    """Objects in one bucket under one prefix. Made by `open_s3_store`."""

    __slots__ = ("_bucket", "_client", "_clock", "_endpoint", "_http", "_prefix")

    def __init__(self, client: Minio, http: PoolManager, endpoint: str, bucket: str, prefix: str, clock: Clock) -> None:
        self._client, self._http, self._endpoint = client, http, endpoint
        self._bucket, self._prefix, self._clock = bucket, prefix, clock

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix`, as configured."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def get(self, key: str) -> bytes:
        """The whole object; ObjectNotFound when there is none."""

        def read(response: BaseHTTPResponse) -> bytes:
            return response.read()

        return self._patiently(lambda: self._fetch(key, read))

    def put(self, key: str, data: bytes) -> None:
        """Create or replace, atomically and durably."""
        name = self._name(key)
        with self._converted(key):
            self._client.put_object(self._bucket, name, BytesIO(data), len(data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create; True for the one caller who did.

        When an answer is lost the request is repeated; if the object then exists, it is ours when it has our bytes. Two writers of *equal*
        bytes may so both hear True after a network fault, which harms neither. TryAgain when the server stays silent.
        """
        name, doubtful = self._name(key), False
        for pause in (*_PAUSES, 0.0):
            match self._conditional_put(key, name, data):
                case _Answer.CREATED:
                    return True
                case _Answer.EXISTS:
                    return doubtful and self.get(key) == data
                case _Answer.UNKNOWN:
                    doubtful = True
                case _Answer.BUSY:
                    pass
            self._clock.sleep(pause)
        raise TryAgain(f"{self.uri}: no clear answer to the creation of {key}; it may or may not exist")

    def upload(self, key: str, source: Path) -> None:
        """Create or replace from a file, in parts when it is large."""
        name = self._name(key)
        with storage_errors(source), self._converted(key):
            self._client.fput_object(self._bucket, name, str(source), part_size=_PART_BYTES)

    def download(self, key: str, target: Path) -> None:
        """Write the object to `target`, which appears whole or not at all."""

        def save(response: BaseHTTPResponse) -> None:
            with atomic_file(target) as sink:
                shutil.copyfileobj(response, sink, CHUNK)

        self._patiently(lambda: self._fetch(key, save))

    def stat(self, key: str) -> ObjectInfo | None:
        """Size, etag and time, or None."""
        name = self._name(key)
        try:
            with self._converted(key):
                found = self._client.stat_object(self._bucket, name)
        except ObjectNotFound:
            return None
        return ObjectInfo(key=key, size=found.size, etag=found.etag, modified=found.last_modified)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key starts with `prefix`; a page of 1,000 a request."""
        within = self._inner(check_prefix(prefix))
        with self._converted(prefix):
            for found in self._client.list_objects(self._bucket, prefix=within, recursive=True):
                if not found.is_dir:
                    key = found.object_name.removeprefix(self._inner(""))
                    yield ObjectInfo(key=key, size=found.size, etag=found.etag, modified=found.last_modified)

    def delete(self, key: str) -> None:
        """Remove; an absent object is no error."""
        name = self._name(key)
        with self._converted(key):
            self._client.remove_object(self._bucket, name)

    def local_path(self, key: str) -> Path | None:
        """None: objects must be downloaded."""
        check_key(key)
        return None

    def sweep(self, before: datetime) -> int:
        """0: failed uploads are aborted at once; a killed process's parts are for the bucket's lifecycle rule (docs/design/store.md)."""
        return 0

    def check_bucket(self) -> None:
        """UserError when the bucket is missing or the credentials are wrong; TryAgain when nobody answers."""
        with self._converted("the bucket"):
            try:
                exists = self._client.bucket_exists(self._bucket)
            except ValueError:  # the client's own rule for names, before any request
                raise error_of_code("InvalidBucketName", self.uri, "the bucket") from None
        if not exists:
            raise error_of_code("NoSuchBucket", self.uri, "the bucket")

    def _inner(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _name(self, key: str) -> str:
        return self._inner(check_key(key))

    def _converted(self, key: str) -> AbstractContextManager[None]:
        return converted(self.uri, self._endpoint, key)

    def _fetch(self, key: str, use: Callable[[BaseHTTPResponse], T]) -> T:
        name = self._name(key)
        with self._converted(key):
            response = self._client.get_object(self._bucket, name)
            try:
                return use(response)
            finally:
                response.close()
                response.release_conn()

    def _patiently(self, operation: Callable[[], T]) -> T:
        """The client repeats a request that got no answer, but not one whose answer broke off: that is done here."""
        for pause in _PAUSES:
            try:
                return operation()
            except TryAgain:
                self._clock.sleep(pause)
        return operation()

    def _conditional_put(self, key: str, name: str, data: bytes) -> _Answer:
        with self._converted(key):
            url = self._client.presigned_put_object(self._bucket, name, expires=_PRESIGNED_FOR)
            headers = {"If-None-Match": "*", "Content-MD5": _md5(data)}
            try:
                response = self._http.urlopen("PUT", url, body=data, headers=headers, retries=False)
            except SSLError:
                raise
            except HTTPError:
                return _Answer.UNKNOWN
        return self._answer(key, response)

    def _answer(self, key: str, response: BaseHTTPResponse) -> _Answer:
        if response.status in (200, 201, 204):
            return _Answer.CREATED
        if response.status == 412:
            return _Answer.EXISTS
        if response.status in (409, 429):
            return _Answer.BUSY
        if response.status >= 500 and response.status != 501:
            return _Answer.UNKNOWN
        code = re.search(rb"<Code>([A-Za-z0-9]+)</Code>", response.data)
        fallback = {401: "AccessDenied", 403: "AccessDenied", 501: "NotImplemented"}.get(response.status, f"HTTP {response.status}")
        raise error_of_code(code[1].decode() if code else fallback, self.uri, key)


def open_s3_store(config: StoreConfig, clock: Clock) -> S3Store:
    """Connect to the bucket of an `s3://` URI; UserError for what is wrong with the configuration, TryAgain when nobody answers."""
    parts, endpoint = urlsplit(config.uri), config.endpoint or AWS
    if not parts.netloc:
        raise UserError("storage.uri", f'"{config.uri}" names no bucket', "write s3://bucket/prefix")
    http = _connections(config.ca_file)
    client = _client(config, _origin(endpoint), http)
    store = S3Store(client, http, endpoint, parts.netloc, _prefix(parts), clock)
    store.check_bucket()
    return store


def _prefix(parts: SplitResult) -> str:
    prefix = parts.path.strip("/")
    return check_key(prefix) if prefix else ""


def _origin(endpoint: str) -> SplitResult:
    try:
        origin = urlsplit(endpoint)
        good = (
            origin.scheme in ("http", "https")
            and origin.hostname
            and origin.port != 0
            and origin.path in ("", "/")
            and "@" not in origin.netloc
        )
    except ValueError:
        good = False
    if not good:
        raise UserError(
            "storage.endpoint",
            "is not an address of the form http(s)://host:port",
            "write it like https://s3.example.org:9000, without path or credentials",
        )
    return origin


def _client(config: StoreConfig, origin: SplitResult, http: PoolManager) -> Minio:
    if not (config.access_key and config.secret_key):
        raise UserError(config.uri, "has no credentials", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    return Minio(
        origin.netloc,
        access_key=config.access_key,
        secret_key=config.secret_key,
        session_token=config.session_token,
        secure=origin.scheme == "https",
        region=config.region,
        http_client=http,
    )


def _connections(ca_file: Path | None) -> PoolManager:
    authorities = str(ca_file) if ca_file else os.environ.get("SSL_CERT_FILE") or certifi.where()
    if not Path(authorities).is_file():
        raise UserError(
            "MSM_STORE_CA_FILE",
            f'there is no file "{authorities}"',
            "give the path of a PEM bundle, or unset it to use the public authorities",
        )
    return PoolManager(
        timeout=Timeout(connect=10, read=60),
        maxsize=16,
        cert_reqs="CERT_REQUIRED",
        ca_certs=authorities,
        retries=Retry(total=4, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504)),
    )


def _md5(data: bytes) -> str:
    """What lets the server refuse bytes that the network damaged; a presigned request signs no payload."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
