"""The texts a run names, by digest, read where they lie: a preview has not copied them to the store.

Neighbours: `rows` and `forecast` look a stage's blobs up here. Invariant: bytes are only ever found under their own digest, so a file
that changed since it was resolved is simply not found. Cost: one read of each local file of the run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from msm.api import MSMRun
from msm.errors import IntegrityError
from msm.store.blobs import get_blob
from msm.store.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Texts:
    """Bytes by `sha256:…`, from the run's own files or from the store."""

    local: Mapping[str, bytes]
    store: ObjectStore

    def get(self, identity: str) -> bytes | None:
        """The bytes, or None when neither place has them."""
        digest = identity.removeprefix("sha256:")
        if digest in self.local:
            return self.local[digest]
        try:
            return get_blob(self.store, digest)
        except IntegrityError:
            return None


def texts_of(run: MSMRun, base: Path, store: ObjectStore) -> Texts:
    """The inline texts and local files of a run; `base` is the directory of its file."""
    spec = run.model_dump(mode="json", by_alias=True, exclude_none=True)["spec"]
    return Texts({sha256(data).hexdigest(): data for data in _contents(spec, base)}, store)


def _contents(node: Any, base: Path) -> Iterator[bytes]:
    if isinstance(node, dict):
        if isinstance(node.get("inline"), str):
            yield node["inline"].encode()
        if isinstance(node.get("path"), str) and (base / node["path"]).is_file():
            yield (base / node["path"]).read_bytes()
        for value in node.values():
            yield from _contents(value, base)
    elif isinstance(node, list):
        for value in node:
            yield from _contents(value, base)
