"""What a stage may touch: its parameters, its inputs as local paths, its output directory, progress, and the request to stop.

Neighbours: `program` makes one for each attempt; every stage module takes one. Invariant: inputs are verified against their manifests
before a stage sees them; nothing a stage writes is visible to others until the program commits.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from msm.errors import IntegrityError, Preempted
from msm.plan import Stage, StageRef
from msm.store import ObjectStore
from msm.store.artifacts import Attempt, Manifest, materialise, read_manifest
from msm.store.blobs import get_blob


@dataclass(slots=True)
class Reporter:
    """The latest progress, as the heartbeat thread will write it."""

    step: int = 0
    total_steps: int = 0
    percentage: float = 0.0
    remaining_seconds: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    def at(self, step: int, total: int, remaining: float | None = None, **metrics: float) -> None:
        """Say how far the stage is: `step` of `total` units of its own work."""
        self.step, self.total_steps, self.remaining_seconds = step, total, remaining
        self.percentage = 100.0 * step / total if total else 0.0
        self.metrics = metrics or self.metrics


@dataclass(frozen=True, slots=True)
class Context:
    """One attempt at a stage."""

    stage: Stage
    store: ObjectStore
    attempt: Attempt
    scratch: Path
    cache: Path
    stop: threading.Event
    grace: float
    progress: Reporter
    leads: bool = True
    """Whether this machine has the attempt in the store; of several at one stage one does."""

    @property
    def params(self) -> Mapping[str, JsonValue]:
        """What can change the result."""
        return self.stage.params

    @property
    def out(self) -> Path:
        """Directory whose files become the artifact."""
        path = self.scratch / "out"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def manifests(self, role: str) -> tuple[Manifest, ...]:
        """Manifests of the artifacts in a role.

        Raises:
            IntegrityError: one is not there although the executor started this stage.
        """
        return tuple(self._manifest(ref) for ref in self.stage.inputs.get(role, ()))

    def _manifest(self, ref: StageRef) -> Manifest:
        manifest = read_manifest(self.store, ref.kind, ref.fingerprint)
        if manifest is None:
            raise IntegrityError(f"{ref.kind}/{ref.fingerprint}: input of {self.stage.name} is not committed; was it deleted by gc?")
        return manifest

    def paths(self, role: str, only: Iterable[str] | None = None) -> tuple[Path, ...]:
        """Directories with the artifacts of a role, in the order of the stage document; digests verified."""
        wanted = None if only is None else frozenset(only)
        return tuple(self._materialised(m, wanted) for m in self.manifests(role))

    def _materialised(self, manifest: Manifest, only: frozenset[str] | None) -> Path:
        return materialise(self.store, manifest, self.cache / "artifacts" / manifest.kind / manifest.fingerprint, only)

    def path(self, role: str) -> Path:
        """Directory with the one artifact of a role."""
        (path,) = self.paths(role)
        return path

    def blob(self, identity: str) -> bytes:
        """Bytes of a blob by `sha256:…`, verified."""
        return get_blob(self.store, identity.removeprefix("sha256:"))

    def check_stop(self) -> None:
        """Leave quietly when asked to stop.

        Raises:
            Preempted: the executor wants this process to end; the next attempt starts where checkpoints allow.
        """
        if self.stop.is_set():
            raise Preempted("asked to stop")


@dataclass(frozen=True, slots=True)
class Result:
    """What a stage measured; its files are those under `Context.out`. `beside`: files that lie by the artifact and are in no digest."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    beside: Mapping[str, bytes] = field(default_factory=dict)
