"""Bringing one verified object to a path on this machine, without copying where the store is a directory.

Neighbours: artifacts, blobs and checkpoints. Invariant: after `place`, `target` has exactly the recorded bytes; when it raises, `target`
does not have the damaged ones.
"""

import os
import secrets
from pathlib import Path

from msm.errors import IntegrityError
from msm.store.digests import FileEntry, VerifiedFiles, verify
from msm.store.objects import ObjectNotFound, ObjectStore
from msm.store.writing import storage_errors


def place(store: ObjectStore, key: str, entry: FileEntry, target: Path, memory: VerifiedFiles | None = None) -> None:
    """Make `target` the object under `key`: a symbolic link into a file store, else a verified copy (kept when already right).

    Raises:
        IntegrityError: the object is missing or not what was recorded.
    """
    original = store.local_path(key)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    if original is None:
        _fetch(store, key, entry, target, memory)
        return
    verify(original, entry, key, memory)
    with storage_errors(target):
        _link(original, target)


def _link(original: Path, target: Path) -> None:
    if target.is_symlink() and target.readlink() == original:
        return
    staged = target.with_name(f"{secrets.token_hex(8)}.part")
    staged.symlink_to(original)
    staged.replace(target)


def _fetch(store: ObjectStore, key: str, entry: FileEntry, target: Path, memory: VerifiedFiles | None) -> None:
    if target.is_file() and _is_right(target, entry, key, memory):
        return
    staged = target.with_name(f"{os.getpid()}-{secrets.token_hex(8)}.part")
    try:
        _download(store, key, staged)
        verify(staged, entry, key)
        with storage_errors(target):
            staged.replace(target)
    finally:
        staged.unlink(missing_ok=True)


def _is_right(target: Path, entry: FileEntry, key: str, memory: VerifiedFiles | None) -> bool:
    try:
        verify(target, entry, key, memory)
    except IntegrityError:
        return False
    return True


def _download(store: ObjectStore, key: str, staged: Path) -> None:
    try:
        store.download(key, staged)
    except ObjectNotFound as error:
        raise IntegrityError(
            f"{key}: recorded, but missing from the store; delete the manifest that names it and run again to make it anew"
        ) from error
