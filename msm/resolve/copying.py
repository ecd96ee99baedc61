"""Clients that keep a copy of all they give: what `msm mirror` resolves a run with.

Neighbours: the real clients of `outside` are wrapped, `shelf` says where copies lie, `mirrored` reads them back. Invariant: what is asked
for through these is answered by the mirror afterwards, with the same identities. Cost: that of the real clients and an upload a file.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from msm.resolve import shelf as keys
from msm.resolve.addresses import Hf, Pypi
from msm.resolve.clients import Bucket, Clients, Hub, ObjectEntry, Wheels
from msm.resolve.digests import file_sha256
from msm.resolve.shelf import Shelf


@dataclass(slots=True)
class Copies:
    """What was copied: key in the mirror -> bytes."""

    shelf: Shelf
    sizes: dict[str, int] = field(default_factory=dict)

    def keep(self, key: str, source: Path) -> None:
        """Copy a file, unless a copy of its size is there under this immutable key."""
        size = source.stat().st_size
        known = self.shelf.stat(key)
        if known is None or known.size != size:
            self.shelf.upload(key, source)
        self.sizes[key] = size


def copying_clients(real: Clients, copies: Copies) -> Clients:
    """The same clients, every answer copied."""
    return replace(
        real,
        wheels=None if real.wheels is None else CopyingWheels(real.wheels, copies),
        hub=None if real.hub is None else CopyingHub(real.hub, copies),
        bucket=None if real.bucket is None else copying_buckets(real.bucket, copies, real.cache),
    )


def copying_buckets(open_bucket: Callable[[str], Bucket], copies: Copies, cache: Path) -> Callable[[str], Bucket]:
    """Buckets by name, every object that is read copied."""
    return lambda name: CopyingBucket(open_bucket(name), name, copies, cache)


@dataclass(frozen=True, slots=True)
class CopyingWheels:
    """`Wheels` with copies."""

    real: Wheels
    copies: Copies

    def wheel(self, address: Pypi, field: str, cache: Path) -> Path:
        """The wheel, copied."""
        found = self.real.wheel(address, field, cache)
        self.copies.keep(keys.wheels_key(address) + found.name, found)
        return found


@dataclass(frozen=True, slots=True)
class CopyingHub:
    """`Hub` with copies."""

    real: Hub
    copies: Copies

    def commit(self, address: Hf, field: str) -> str:
        """The commit; the revision's name is remembered with it."""
        commit = self.real.commit(address, field)
        self.copies.shelf.put(keys.ref_key(address), commit.encode())
        self.copies.shelf.put(keys.ref_key(replace(address, revision=commit)), commit.encode())
        return commit

    def file(self, address: Hf, field: str, cache: Path) -> Path:
        """The file, copied."""
        found = self.real.file(address, field, cache)
        self.copies.keep(keys.file_key(address, address.inner), found)
        return found

    def snapshot(self, address: Hf, field: str, cache: Path, patterns: tuple[str, ...]) -> Path:
        """The directory, copied; its index last."""
        found = self.real.snapshot(address, field, cache, patterns)
        files = {path.relative_to(found).as_posix(): path for path in sorted(found.rglob("*")) if path.is_file()}
        for name, path in files.items():
            self.copies.keep(keys.file_key(address, name), path)
        keys.write_index(self.copies.shelf, address, {name: file_sha256(path) for name, path in files.items()})
        return found


@dataclass(frozen=True, slots=True)
class CopyingBucket:
    """`Bucket` with copies of what is read; what is listed is remembered as the server said it, since its tags are identities."""

    real: Bucket
    name: str
    copies: Copies
    cache: Path

    def get(self, key: str) -> bytes:
        """The object, copied."""
        data = self.real.get(key)
        self.copies.shelf.put(keys.object_key(self.name, key), data)
        self.copies.sizes[keys.object_key(self.name, key)] = len(data)
        return data

    def download(self, key: str, target: Path) -> None:
        """The object as a file, copied."""
        self.real.download(key, target)
        self.copies.keep(keys.object_key(self.name, key), target)

    def list(self, prefix: str) -> Iterable[ObjectEntry]:
        """The objects below a prefix, remembered."""
        for entry in self.real.list(prefix):
            said = json.dumps({"size": entry.size, "etag": entry.etag}).encode()
            self.copies.shelf.put(keys.entry_key(self.name, entry.key), said)
            yield entry
