"""The committed artifacts of one plan, looked up once, their files verified when they are opened.

Neighbours: everything in `msm.results` reads through it. Invariant: a file that is returned has the digest that its manifest records;
weights are never opened here. Cost: one manifest a stage, then only the files that are asked for (links where the store is a directory).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msm.errors import IntegrityError
from msm.plan import Plan, StageRef
from msm.store import ObjectNotFound, ObjectStore
from msm.store.artifacts import Manifest, materialise, read_manifest
from msm.store.blobs import blob_key


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What is committed of a plan; `manifests` by fingerprint."""

    store: ObjectStore
    cache: Path
    manifests: Mapping[str, Manifest]

    @classmethod
    def of(cls, plan: Plan, store: ObjectStore, cache: Path) -> "Artifacts":
        """Look all stages up."""
        found = ((stage.fingerprint, read_manifest(store, stage.kind, stage.fingerprint)) for stage in plan.stages)
        return cls(store, cache, {fingerprint: manifest for fingerprint, manifest in found if manifest is not None})

    def __contains__(self, ref: StageRef) -> bool:
        return ref.fingerprint in self.manifests

    def manifest(self, ref: StageRef) -> Manifest:
        """A committed one's manifest.

        Raises:
            IntegrityError: it is not committed.
        """
        if ref not in self:
            raise IntegrityError(f"{ref.kind}/{ref.fingerprint} is not committed; run the file again")
        return self.manifests[ref.fingerprint]

    def file(self, ref: StageRef, name: str) -> Path | None:
        """One file of a committed artifact, or None when it has no such file."""
        manifest = self.manifest(ref)
        if name not in manifest.files:
            return None
        return materialise(self.store, manifest, self.cache / "artifacts" / ref.kind / ref.fingerprint, only=(name,)) / name

    def document(self, ref: StageRef, name: str) -> dict[str, Any]:
        """A JSON file of a committed artifact; empty when it has no such file."""
        path = self.file(ref, name)
        return {} if path is None else dict(json.loads(path.read_text(encoding="utf-8")))

    def rows(self, ref: StageRef, name: str) -> list[dict[str, Any]]:
        """A JSON Lines file of a committed artifact; empty when it has no such file."""
        path = self.file(ref, name)
        return [] if path is None else [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]

    def blob(self, sha256: str) -> bytes | None:
        """An input that was kept when the run was accepted, or None."""
        try:
            return self.store.get(blob_key(sha256))
        except ObjectNotFound:
            return None
