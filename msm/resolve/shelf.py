"""Where a mirror keeps what: keys of wheels, hub files and objects, and the two records that make them whole.

Pure but for the injected store. Neighbours: `copying` writes, `mirrored` reads. Invariant: a snapshot's index is written after its files,
so an interrupted copy is never taken for a whole one; every file's digest is checked when it is read. Cost: one object a file.
"""

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import quote

from msm.errors import IntegrityError
from msm.resolve.addresses import Hf, Pypi
from msm.resolve.clients import ObjectEntry
from msm.resolve.digests import file_sha256


class Shelf(Protocol):
    """The part of `msm.store.objects.ObjectStore` that a mirror needs."""

    @property
    def uri(self) -> str:
        """Where it is."""

    def get(self, key: str) -> bytes:
        """Bytes of an object."""

    def put(self, key: str, data: bytes) -> None:
        """Create or replace."""

    def upload(self, key: str, source: Path) -> None:
        """Create or replace from a file."""

    def download(self, key: str, target: Path) -> None:
        """Stream an object into a file."""

    def stat(self, key: str) -> ObjectEntry | None:
        """What is known of an object, or None."""

    def list(self, prefix: str) -> Iterable[ObjectEntry]:
        """Objects whose key begins with the prefix."""


def wheels_key(address: Pypi) -> str:
    """Prefix of a package version's wheels."""
    return f"wheels/{address.project}/{address.version}/"


def ref_key(address: Hf) -> str:
    """Where the commit of a revision is written; a commit is its own."""
    return f"{_repository(address)}/refs/{_name(address.revision) if address.revision else 'default'}"


def file_key(address: Hf, path: str) -> str:
    """One file of a repository at a commit (`address.revision`)."""
    return f"{_repository(address)}/files/{_name(address.revision or '')}/{path}"


def index_key(address: Hf) -> str:
    """The index of a whole snapshot at a commit."""
    return f"{_repository(address)}/snapshots/{_name(address.revision or '')}.json"


def object_key(bucket: str, key: str) -> str:
    """An object's bytes."""
    return f"objects/{bucket}/{key}"


def entry_key(bucket: str, key: str) -> str:
    """What the bucket said of an object."""
    return f"entries/{bucket}/{key}"


def _repository(address: Hf) -> str:
    return f"hub/{'datasets' if address.dataset else 'models'}/{address.repo}"


def _name(revision: str) -> str:
    return quote(revision, safe="")


def write_index(shelf: Shelf, address: Hf, files: dict[str, str]) -> None:
    """Say that a snapshot is whole: path -> SHA-256."""
    shelf.put(index_key(address), json.dumps(files, indent=1, sort_keys=True).encode())


def read_index(shelf: Shelf, address: Hf) -> dict[str, str] | None:
    """Path -> SHA-256 of a snapshot, None when the mirror has no whole one.

    Raises:
        IntegrityError: the index is no index, or names a path that leaves the snapshot.
    """
    key = index_key(address)
    if shelf.stat(key) is None:
        return None
    found = json.loads(shelf.get(key))
    if not isinstance(found, dict) or not all(_inside(path) and isinstance(digest, str) for path, digest in found.items()):
        raise IntegrityError(f"{shelf.uri}: {key} is damaged; mirror the run again")
    return found


def _inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and ".." not in parts and parts[0] != "/"


def fetch(shelf: Shelf, key: str, sha256: str, target: Path) -> Path:
    """Put an object at `target` unless its very bytes are there.

    Raises:
        IntegrityError: the mirror's copy has other bytes.
    """
    if target.is_file() and file_sha256(target) == sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    shelf.download(key, target)
    found = file_sha256(target)
    if found != sha256:
        target.unlink()
        raise IntegrityError(f"{shelf.uri}: {key} has SHA-256 {found}, the mirror's index says {sha256}; mirror the run again")
    return target
