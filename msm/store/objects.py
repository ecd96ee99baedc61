"""The seam under every artifact: named byte strings that can be replaced atomically and created by exactly one of many.

Neighbours: `files` and `s3` implement it, everything else in `msm.store` is written against it, one contract test suite runs on both.
Invariant: a reader sees an object whole or not at all; of any number of concurrent `put_if_absent` calls on one key one returns True.
A key is never also a directory: `a` and `a/b` do not both exist.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from msm.errors import MSMError, UserError

MAX_KEY_BYTES = 1024
"""S3's limit on a key."""
MAX_SEGMENT_BYTES = 255
"""The usual file systems' limit on a name."""


class ObjectNotFound(MSMError):
    """No object has this key."""

    reason = "ObjectNotFound"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object without its bytes: `size` in bytes, `etag` changes with the content, `modified` by the store's own clock (UTC)."""

    key: str
    size: int
    etag: str
    modified: datetime


class ObjectStore(Protocol):
    """Bytes by key. All methods raise UserError for an invalid key and for what the user must mend, TryAgain for an outage."""

    @property
    def uri(self) -> str:
        """Where this store is, without secrets."""
        ...

    def get(self, key: str) -> bytes:
        """The whole object; ObjectNotFound when there is none."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Create or replace, atomically and durably."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create; True for the one caller who did, False when the object was there already."""
        ...

    def upload(self, key: str, source: Path) -> None:
        """Create or replace from a file, in constant memory."""
        ...

    def download(self, key: str, target: Path) -> None:
        """Write the object to `target`, in constant memory; `target` appears whole or not at all."""
        ...

    def stat(self, key: str) -> ObjectInfo | None:
        """The object's size, etag and time, or None."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key starts with `prefix`, in no promised order; what changes meanwhile may or may not be seen."""
        ...

    def delete(self, key: str) -> None:
        """Remove; an absent object is no error."""
        ...

    def local_path(self, key: str) -> Path | None:
        """Where the object's bytes would lie on this machine (read only; it may not exist), or None when they must be downloaded."""
        ...

    def sweep(self, before: datetime) -> int:
        """Remove what writers that died before `before` left behind; returns bytes freed."""
        ...


def key_problem(key: str) -> str | None:
    """What is wrong with a key, as the rest of a sentence that starts with the key; None when it is fine."""
    if not key or len(key.encode()) > MAX_KEY_BYTES:
        return f"must have 1 to {MAX_KEY_BYTES} bytes"
    if any(ord(character) < 32 or character in "\\\x7f" for character in key):
        return "must not contain control characters or backslashes"
    segments = key.split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        return 'must be relative, without empty, "." or ".." parts'
    if any(len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments):
        return f"must have at most {MAX_SEGMENT_BYTES} bytes between slashes"
    return None


def check_key(key: str) -> str:
    """The key itself; UserError when it could leave the store or is reserved (a leading dot is the store's own)."""
    problem = 'must not start with "."' if key.startswith(".") else key_problem(key)
    if problem is not None:
        raise UserError("store key", f'"{key[:120]}" {problem}', "use a plain relative name such as data/rows.jsonl")
    return key


def check_prefix(prefix: str) -> str:
    """The listing prefix itself: any beginning of a valid key, empty for everything; UserError otherwise."""
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix
