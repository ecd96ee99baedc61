"""Inputs by content: `blobs/sha256/<first two>/<hex>`.

Neighbours: the resolver puts what a run names (specs, item files, wheels), stages read them by digest. Invariant: a blob's name is its
digest, checked on every read. Cost: putting always writes, which renews the age that gc looks at and heals a damaged copy.
"""

import re
from pathlib import Path

from msm.errors import IntegrityError, UserError
from msm.store.digests import FileEntry, entry_of_bytes, steady
from msm.store.objects import ObjectNotFound, ObjectStore
from msm.store.placing import place

PREFIX = "blobs/sha256/"


def blob_key(sha256: str) -> str:
    """Where a blob lies; UserError when `sha256` is no digest."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise UserError("blob", f'"{sha256[:80]}" is not a SHA-256 of 64 hexadecimal digits', "use the digest from plan.json")
    return f"{PREFIX}{sha256[:2]}/{sha256}"


def put_blob(store: ObjectStore, data: bytes | Path) -> str:
    """Store bytes, or a file, under their digest; returns it."""
    if isinstance(data, bytes):
        sha256 = entry_of_bytes(data).sha256
        store.put(blob_key(sha256), data)
        return sha256
    with steady(data) as entry:
        store.upload(blob_key(entry.sha256), data)
    return entry.sha256


def get_blob(store: ObjectStore, sha256: str) -> bytes:
    """A blob's bytes.

    Raises:
        IntegrityError: it is missing, or its bytes have another digest.
    """
    key = blob_key(sha256)
    try:
        data = store.get(key)
    except ObjectNotFound as error:
        raise _missing(key) from error
    found = entry_of_bytes(data).sha256
    if found != sha256:
        raise IntegrityError(f"{key}: damaged: its bytes have the digest {found}; delete it and give the run its input again")
    return data


def materialise_blob(store: ObjectStore, sha256: str, target: Path) -> Path:
    """The blob as a file, verified: a link into a file store, else a copy; returns `target`."""
    key = blob_key(sha256)
    info = store.stat(key)
    if info is None:
        raise _missing(key)
    place(store, key, FileEntry(size=info.size, sha256=sha256), target)
    return target


def _missing(key: str) -> IntegrityError:
    return IntegrityError(f"{key}: named by a plan, but missing from the store; give the run its input again")
