"""Content digests: what an input is, whatever it is called and wherever it lies.

Pure but for `file_sha256`, which reads one file. Invariant: equal contents under equal relative names give equal digests on every
machine. Cost: one pass over the bytes.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

_CHUNK = 1 << 20


def text_identity(data: bytes) -> str:
    """`sha256:<hex>` of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hex, in constant memory."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def tree_identity(entries: Iterable[tuple[str, str]]) -> str:
    """`sha256:<hex>` of (relative path, digest of that file), in the order of paths; the separator cannot occur in either."""
    lines = [f"{digest}\0{path}\0" for path, digest in sorted(entries)]
    return text_identity("".join(lines).encode())
