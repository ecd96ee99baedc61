"""Clients that read a mirror and nothing else: what a closed network resolves and fetches with.

Neighbours: `copying` filled the mirror, `shelf` knows its keys. Invariant: the outside is never asked; what the mirror lacks is one error
that says how to copy it. Identities are those of the outside, so a mirror changes no fingerprint.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from msm.errors import IntegrityError, UserError
from msm.resolve import shelf as keys
from msm.resolve.addresses import Hf, Pypi
from msm.resolve.clients import Bucket, Clients, ObjectEntry
from msm.resolve.digests import file_sha256
from msm.resolve.shelf import Shelf


def mirrored_clients(real: Clients, shelf: Shelf) -> Clients:
    """The same record with wheels, hub and buckets out of a mirror; a registry stays, it belongs to the network that it is in."""
    return replace(real, wheels=MirroredWheels(shelf), hub=MirroredHub(shelf), bucket=_buckets(shelf))


def _buckets(shelf: Shelf) -> Callable[[str], Bucket]:
    return lambda name: MirroredBucket(shelf, name)


def _lacks(shelf: Shelf, address: object, field: str) -> UserError:
    return UserError(field, f"{address} is not in the mirror {shelf.uri}", f"`msm mirror FILE --to {shelf.uri}` where it can be reached")


@dataclass(frozen=True, slots=True)
class MirroredWheels:
    """`Wheels` out of a mirror."""

    shelf: Shelf

    def wheel(self, address: Pypi, field: str, cache: Path) -> Path:
        """The wheel in the cache.

        Raises:
            UserError: the mirror has none; IntegrityError: its bytes are not those that the address pins.
        """
        prefix = keys.wheels_key(address)
        key = min((entry.key for entry in self.shelf.list(prefix)), default=None)
        if key is None:
            raise _lacks(self.shelf, address, field)
        target = cache / "mirror" / key
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            self.shelf.download(key, target)
        digest = file_sha256(target)
        if address.sha256 not in (None, digest):
            target.unlink()
            raise IntegrityError(f"{field}: {key} in {self.shelf.uri} has SHA-256 {digest}, the address pins {address.sha256}")
        return target


@dataclass(frozen=True, slots=True)
class MirroredHub:
    """`Hub` out of a mirror."""

    shelf: Shelf

    def commit(self, address: Hf, field: str) -> str:
        """The commit that the revision had when it was mirrored."""
        key = keys.ref_key(address)
        if self.shelf.stat(key) is None:
            raise _lacks(self.shelf, address, field)
        return self.shelf.get(key).decode()

    def file(self, address: Hf, field: str, cache: Path) -> Path:
        """One file at a commit."""
        key = keys.file_key(address, address.inner)
        if self.shelf.stat(key) is None:
            raise _lacks(self.shelf, address, field)
        target = cache / "mirror" / key
        target.parent.mkdir(parents=True, exist_ok=True)
        self.shelf.download(key, target)
        return target

    def snapshot(self, address: Hf, field: str, cache: Path, patterns: tuple[str, ...]) -> Path:
        """The files that were mirrored, each with its digest checked; the patterns were applied then."""
        index = keys.read_index(self.shelf, address)
        if index is None:
            raise _lacks(self.shelf, address, field)
        into = cache / "mirror" / keys.file_key(address, "")
        for path, sha256 in index.items():
            keys.fetch(self.shelf, keys.file_key(address, path), sha256, into / path)
        return into


@dataclass(frozen=True, slots=True)
class Entry:
    """What a bucket said of an object when it was mirrored."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class MirroredBucket:
    """`Bucket` out of a mirror."""

    shelf: Shelf
    name: str

    def get(self, key: str) -> bytes:
        """The object."""
        return self.shelf.get(keys.object_key(self.name, key))

    def download(self, key: str, target: Path) -> None:
        """The object as a file."""
        self.shelf.download(keys.object_key(self.name, key), target)

    def list(self, prefix: str) -> Iterable[ObjectEntry]:
        """What the bucket listed below a prefix."""
        root = keys.entry_key(self.name, "")
        for entry in self.shelf.list(root + prefix):
            yield Entry(key=entry.key.removeprefix(root), **json.loads(self.shelf.get(entry.key)))
