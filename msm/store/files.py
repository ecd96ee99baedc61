"""The store in a directory: `file:///path`.

Neighbours: implements `objects.ObjectStore`, writes through `writing`. Invariant: an object is a read-only file that is only ever renamed
or linked into place from `.incoming` on the same file system, so that readers need no lock and writers may die anywhere. Cost: two
fsyncs an object; a listing walks the directories under its prefix.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from msm.errors import UserError
from msm.store.objects import ObjectInfo, ObjectNotFound, check_key, check_prefix
from msm.store.writing import CHUNK, atomic_file, settle, staged_file, storage_errors, sync_directory

INCOMING = ".incoming"
"""Where writers stage; never listed, emptied by gc."""
_READ_ONLY = 0o444
_DIRECTORY_VANISHED = 5
"""How often a write is tried again because a concurrent delete removed its still empty directory."""


class FileStore:
    """Objects as files under one directory. Made by `open_file_store`."""

    __slots__ = ("_incoming", "_root")

    def __init__(self, root: Path) -> None:
        self._root, self._incoming = root, root / INCOMING

    @property
    def uri(self) -> str:
        """`file://` and the absolute directory."""
        return self._root.as_uri()

    def get(self, key: str) -> bytes:
        """The whole object; ObjectNotFound when there is none."""
        path = self._path(key)
        with _reading(key, path):
            return path.read_bytes()

    def put(self, key: str, data: bytes) -> None:
        """Create or replace, atomically and durably."""
        self._publish(key, lambda sink: _write(sink, data), _replace)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create; True for the one caller who did. `link(2)` is the arbiter: it fails when the name exists."""
        return self._publish(key, lambda sink: _write(sink, data), _link)

    def upload(self, key: str, source: Path) -> None:
        """Create or replace from a file."""
        self._publish(key, lambda sink: _copy(source, sink), _replace)

    def download(self, key: str, target: Path) -> None:
        """Copy the object to `target`, which appears whole or not at all."""
        path = self._path(key)
        with _reading(key, path):
            source = path.open("rb")
        with source, atomic_file(target) as sink:
            shutil.copyfileobj(source, sink, CHUNK)

    def stat(self, key: str) -> ObjectInfo | None:
        """Size, etag and time, or None."""
        path = self._path(key)
        try:
            with _reading(key, path):
                return _info(key, path.stat()) if path.is_file() else None
        except ObjectNotFound:
            return None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key starts with `prefix`, in key order."""
        top = check_prefix(prefix).rpartition("/")[0]
        yield from self._walk(top + "/" if top else "", prefix)

    def delete(self, key: str) -> None:
        """Remove the object, and the directories that it leaves empty."""
        path = self._path(key)
        with storage_errors(path):
            path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == self._root or not _rmdir_if_empty(parent):
                return

    def local_path(self, key: str) -> Path | None:
        """The object's file; it is read-only and must stay so."""
        return self._path(key)

    def sweep(self, before: datetime) -> int:
        """Remove staged files whose writer last wrote before `before`; returns bytes freed."""
        stale = [entry for entry in _scan(self._incoming) if _modified(entry.stat()) < before]
        freed = sum(entry.stat().st_size for entry in stale)
        for entry in stale:
            Path(entry.path).unlink(missing_ok=True)
        return freed

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _publish(self, key: str, fill: Callable[[BinaryIO], None], place: Callable[[Path, Path], bool]) -> bool:
        target = self._path(key)
        with storage_errors(target), staged_file(self._incoming, _READ_ONLY) as (staged, handle):
            fill(handle)
            settle(handle)
            placed = _place(staged, target, place)
            sync_directory(target.parent)
        return placed

    def _walk(self, directory: str, prefix: str) -> Iterator[ObjectInfo]:
        entries = {entry.name + ("/" if entry.is_dir(follow_symlinks=False) else ""): entry for entry in _scan(self._root / directory)}
        for name in sorted(entries):
            key = directory + name
            if key.startswith("."):
                continue
            if name.endswith("/") and (key.startswith(prefix) or prefix.startswith(key)):
                yield from self._walk(key, prefix)
            elif key.startswith(prefix) and entries[name].is_file(follow_symlinks=False):
                yield from _present(key, entries[name])


def open_file_store(root: Path) -> FileStore:
    """The store at `root`, made when absent; UserError when this process cannot write there."""
    with storage_errors(root):
        (root / INCOMING).mkdir(parents=True, exist_ok=True)
        with staged_file(root / INCOMING, _READ_ONLY) as (_, handle):
            handle.write(b"may this process write here?")
    return FileStore(root)


@contextmanager
def _reading(key: str, path: Path) -> Iterator[None]:
    with storage_errors(path):
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise ObjectNotFound(f"{key}: no such object in the store") from error


def _write(sink: BinaryIO, data: bytes) -> None:
    sink.write(data)


def _copy(source: Path, sink: BinaryIO) -> None:
    with storage_errors(source):
        handle = source.open("rb")
    with handle:
        shutil.copyfileobj(handle, sink, CHUNK)


def _replace(staged: Path, target: Path) -> bool:
    staged.replace(target)
    return True


def _link(staged: Path, target: Path) -> bool:
    try:
        target.hardlink_to(staged)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK):
            raise UserError(
                str(target),
                "this file system makes no hard links, which first-commit-wins needs",
                "put the store on a local disk or NFS, or on s3://",
            ) from error
        raise
    return True


def _place(staged: Path, target: Path, place: Callable[[Path, Path], bool]) -> bool:
    for _ in range(_DIRECTORY_VANISHED):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            return place(staged, target)
        except FileNotFoundError:
            continue
        except FileExistsError:  # mkdir found a directory that was gone when it looked what it is
            if target.parent.exists() and not target.parent.is_dir():
                raise
    target.parent.mkdir(parents=True, exist_ok=True)
    return place(staged, target)


def _rmdir_if_empty(directory: Path) -> bool:
    try:
        directory.rmdir()
    except OSError:
        return False
    return True


def _scan(directory: Path) -> list["os.DirEntry[str]"]:
    try:
        with _reading(str(directory), directory), os.scandir(directory) as entries:
            return list(entries)
    except ObjectNotFound:
        return []


def _present(key: str, entry: "os.DirEntry[str]") -> Iterator[ObjectInfo]:
    try:
        yield _info(key, entry.stat())
    except FileNotFoundError:
        return


def _modified(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, UTC)


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    etag = f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"
    return ObjectInfo(key=key, size=status.st_size, etag=etag, modified=_modified(status))
