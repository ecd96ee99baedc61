"""Writing one local file so that it appears whole or not at all, and telling people what a failing disk means for them.

Neighbours: the file store writes objects by it, both stores write downloads by it. Invariant: when a block ends with an exception the
target is as it was before and the staged file is gone; after a kill only a staged file is left, under a name nobody reads.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from msm.errors import MSMError, UserError

CHUNK = 1 << 20
"""Bytes copied or hashed at a time."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_MISPLACED = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOENT}


def is_full(error: OSError) -> bool:
    """Whether the operating system said that there is no room: disk, quota, or file size limit."""
    return error.errno in _FULL


def storage_error(error: OSError, path: Path) -> MSMError:
    """The platform's error for what the operating system said about `path`: the user's move, or a fault of the machine."""
    said = os.strerror(error.errno) if error.errno else str(error)
    if is_full(error):
        return UserError(
            str(path), f"cannot be written: {said}", "free space on that disk or use another one, then run again; nothing is half-written"
        )
    if error.errno in _FORBIDDEN:
        return UserError(
            str(path), f"cannot be used: {said}", f"give user id {os.geteuid()} read and write access, or choose another directory"
        )
    if error.errno in _MISPLACED:
        return UserError(
            str(path), f"cannot be used: {said}", "look at that path and remove what is in the way, or choose another directory"
        )
    return MSMError(f"{path}: {said}; the disk or its driver failed, see the system log")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into the platform's error."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) from error


@contextmanager
def staged_file(directory: Path, mode: int) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file in `directory`, open for writing; whatever the block did not move away is removed at its end.

    The block calls `settle` before it moves the file. `mode` is what `open(2)` takes, so the user's umask applies.
    """
    path = directory / f"msm-{os.getpid()}-{secrets.token_hex(8)}.part"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as handle:
            yield path, handle
    finally:
        path.unlink(missing_ok=True)


def settle(handle: BinaryIO) -> None:
    """Bring what was written to the disk."""
    handle.flush()
    os.fsync(handle.fileno())


def sync_directory(directory: Path) -> None:
    """Bring a directory's entries to the disk, so that a rename outlives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(target: Path) -> Iterator[BinaryIO]:
    """Open for writing what becomes `target` when the block ends well; parents are made."""
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with staged_file(target.parent, 0o644) as (staged, handle):
            yield handle
            settle(handle)
            staged.replace(target)
