"""Digests of bytes and files, and a memory of files already verified.

Neighbours: artifacts, blobs and checkpoints verify by it. Invariant: a file is remembered only under the digest that was computed
from it, and only while its size, times and inode stay what they were before it was read; a damaged memory is an empty memory. Cost:
about a second for 540 MB the first time, one stat afterwards.
"""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from msm.errors import IntegrityError, UserError
from msm.store.writing import CHUNK, atomic_file, storage_errors

WORTH_REMEMBERING = 4 << 20
"""Bytes below which hashing again is cheaper than remembering."""

_log = logging.getLogger(__name__)


class FileEntry(BaseModel):
    """A file as a manifest knows it: size in bytes, SHA-256 in hex."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    sha256: str


class Identity(NamedTuple):
    """What changes when a file is written: size in bytes, modification and change time in ns, inode."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


_MEMORY = TypeAdapter(dict[str, tuple[Identity, str]])


def identify(path: Path) -> Identity:
    """The file's present identity; links are followed."""
    status = path.stat()
    return Identity(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file in hex."""
    hasher = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def entry_of_bytes(data: bytes) -> FileEntry:
    """Size and digest of bytes."""
    return FileEntry(size=len(data), sha256=hashlib.sha256(data).hexdigest())


@contextmanager
def steady(path: Path) -> Iterator[FileEntry]:
    """Size and digest of a file that must not change while the block uses it.

    Raises:
        UserError: it changed, or cannot be read.
    """
    with storage_errors(path):
        before = identify(path)
        entry = FileEntry(size=before.size, sha256=sha256_file(path))
    yield entry
    with storage_errors(path):
        after = identify(path)
    if after != before:
        raise UserError(str(path), "was changed while it was being stored", "let nothing write to it and run again")


class VerifiedFiles:
    """Which files had which digest, kept in one small JSON file; several processes may share it and lose nothing but a memory."""

    __slots__ = ("_known", "_path")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _load(path)

    def digest(self, path: Path) -> str:
        """SHA-256 of `path`, from memory when the file is as it was."""
        key, now = str(path.resolve()), identify(path)
        remembered = self._known.get(key)
        if remembered is not None and remembered[0] == now:
            return remembered[1]
        found = sha256_file(path)
        if now.size >= WORTH_REMEMBERING and identify(path) == now:
            self._known[key] = (now, found)
            self._save()
        return found

    def _save(self) -> None:
        merged = {**_load(self._path), **self._known}
        with atomic_file(self._path) as sink:
            sink.write(_MEMORY.dump_json({key: value for key, value in merged.items() if Path(key).exists()}))


def _load(path: Path) -> dict[str, tuple[Identity, str]]:
    try:
        return _MEMORY.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValidationError:
        _log.warning("%s is damaged; its files are verified again", path)
        return {}


def verify(path: Path, entry: FileEntry, name: str, memory: VerifiedFiles | None = None) -> None:
    """Return when `path` has the size and digest recorded for `name`.

    Raises:
        IntegrityError: it has others, or is not there.
    """
    with storage_errors(path):
        if not path.is_file():
            raise IntegrityError(
                f"{name}: recorded, but missing from the store; delete the manifest that names it and run again to make it anew"
            )
        size = path.stat().st_size
        found = (memory.digest(path) if memory else sha256_file(path)) if size == entry.size else f"{size} bytes"
    if found != entry.sha256:
        expected = entry.sha256 if size == entry.size else f"{entry.size} bytes"
        raise IntegrityError(
            f"{name}: damaged: expected {expected}, found {found}; delete the manifest that names it and run again to make it anew"
        )
