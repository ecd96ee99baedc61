"""What must be true when a run has ended, whatever was done to it: looked up in the store, never assumed."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path

from msm.clock import SystemClock
from msm.errors import IntegrityError
from msm.local.accept import Accepted
from msm.store import ObjectStore
from msm.store.artifacts import materialise, read_manifest
from msm.store.gc import collect, read_roots

Digests = Mapping[str, str]
"""`kind/fingerprint` -> contentDigest."""


@dataclass(slots=True)
class Verdict:
    """What is counted. Everything but the first two must be 0."""

    kills: int = 0
    injected: int = 0
    lost: int = 0
    duplicates: int = 0
    different: int = 0
    orphans: int = 0

    def add(self, other: "Verdict") -> None:
        for part in fields(self):
            setattr(self, part.name, getattr(self, part.name) + getattr(other, part.name))

    @property
    def good(self) -> bool:
        return not (self.lost or self.duplicates or self.different or self.orphans)


def digests(run: Accepted) -> dict[str, str]:
    """Content digests of all that is committed of a plan."""
    found = {f"{s.kind}/{s.fingerprint}": read_manifest(run.store, s.kind, s.fingerprint) for s in run.plan.stages}
    return {name: manifest.content_digest for name, manifest in found.items() if manifest is not None}


def judge(run: Accepted, reference: Digests, commits: Mapping[str, int]) -> tuple[Verdict, list[str]]:
    """The verdict on a run that says it succeeded, and a line for each thing that is wrong."""
    found, wrong = digests(run), list[str]()
    absent = sorted(set(reference) - set(found))
    other = sorted(name for name in found if found[name] != reference.get(name))
    twice = sorted(key for key, times in commits.items() if times > 1)
    unreadable = _unreadable(run)
    wrong += [f"lost: {name}" for name in absent] + [f"different: {name}" for name in other] + [f"committed twice: {key}" for key in twice]
    wrong += [f"unreadable: {line}" for line in unreadable]
    left = _leftovers(run.store)
    wrong += [f"gc: {line}" for line in left]
    return Verdict(lost=len(absent) + len(unreadable) + len(left), different=len(other), duplicates=len(twice)), wrong


def _unreadable(run: Accepted) -> list[str]:
    """Every committed file and every complete checkpoint, verified."""
    bad = []
    with tempfile.TemporaryDirectory() as directory:
        for stage in run.plan.stages:
            manifest = read_manifest(run.store, stage.kind, stage.fingerprint)
            try:
                if manifest is not None:
                    materialise(run.store, manifest, Path(directory) / stage.fingerprint)
            except IntegrityError as error:
                bad.append(str(error))
    return bad


def _leftovers(store: ObjectStore) -> list[str]:
    """What gc leaves that nothing refers to, and what it took that something does; gc runs as if a day had passed."""
    before = {found.key for found in store.list("")}
    wanted = _wanted(store, before)
    collect(store, SystemClock().now() + timedelta(days=1), timedelta(hours=1))
    after = {found.key for found in store.list("")}
    return [f"still there: {key}" for key in sorted(after - wanted)] + [f"gone: {key}" for key in sorted(wanted - after)]


def _wanted(store: ObjectStore, keys: set[str]) -> set[str]:
    """Keys that the plans refer to: records, named blobs, and of each artifact its manifest and its winner's files."""
    roots = read_roots(store)
    kept = {key for key in keys if key.startswith(("runs/", "probe/"))}
    kept |= {key for key in keys if key.startswith("blobs/") and key.rpartition("/")[2] in roots.blobs}
    for kind, fingerprint in roots.artifacts:
        manifest = read_manifest(store, kind, fingerprint)
        if manifest is not None:
            mine = f"{kind}/{fingerprint}/attempts/{manifest.attempt}/"
            kept |= {f"{kind}/{fingerprint}/manifest.json"}
            kept |= {key for key in keys if key.startswith(mine) and not key.startswith(mine + "checkpoints/")}
    return kept
