"""What is known of one run at one moment: all that a projection is made from.

Neighbours: executors build it, `desired` turns it into MLflow's terms. Pure and free of MLflow, so that "did anything change?" costs
milliseconds. Invariant: equal digests mean that a projection would change nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import JsonValue

from msm.api import MSMRun
from msm.plan import Plan, Stage
from msm.plan import fingerprint as canonical
from msm.plan.decide import needed
from msm.store.artifacts import read_manifest
from msm.store.manifest import Manifest
from msm.store.objects import ObjectStore
from msm.tracking.config import TrackingConfig
from msm.tracking.index import ReportIndex

VERSION = 1
"""Raised when a projection of the same run would look different; makes finished runs be projected again."""

Phase = Literal["Running", "Succeeded", "Failed", "Suspended"]
Row = Mapping[str, float]
"""One point of training: "step", measurements by name, and optionally "time" (seconds since 1970)."""


@dataclass(frozen=True, slots=True)
class LiveStage:
    """A stage that is being worked on: the attempt's ULID and the rows seen so far, in order of step (gaps are fine)."""

    attempt: str
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run, its plan, and what was observed; `committed` and `live` are keyed by fingerprint.

    `results` is what `msm results --json` prints, None until it is computed. `reused` names stages that this run found finished.
    `report` names the files of the report that is kept with the run.
    """

    run: MSMRun
    uid: str
    plan: Plan
    committed: Mapping[str, Manifest]
    live: Mapping[str, LiveStage] = field(default_factory=dict)
    results: Mapping[str, JsonValue] | None = None
    phase: Phase = "Running"
    reused: frozenset[str] = frozenset()
    report: ReportIndex | None = None

    @property
    def settled(self) -> bool:
        """Whether no stage must run any more."""
        return not needed(self.plan, self.committed.keys())

    @property
    def outcome(self) -> Phase:
        """The phase, where "nothing left to do" counts as success before the executor says so."""
        return "Succeeded" if self.settled else self.phase

    @property
    def complete(self) -> bool:
        """Whether nothing will be added: every stage committed and the results computed."""
        return self.settled and self.results is not None

    @property
    def used(self) -> tuple[Stage, ...]:
        """Stages that are committed or being worked on, in plan order."""
        return tuple(s for s in self.plan.stages if s.fingerprint in self.committed or s.fingerprint in self.live)

    def with_committed_of(self, store: ObjectStore) -> "Snapshot":
        """The same snapshot with the manifests that the store has now; reads only those that are missing here."""
        absent = [s for s in self.plan.stages if s.fingerprint not in self.committed]
        found = {s.fingerprint: m for s in absent if (m := read_manifest(store, s.kind, s.fingerprint)) is not None}
        return replace(self, committed={**self.committed, **found})


def results_digest(results: Mapping[str, JsonValue] | None) -> str | None:
    """SHA-256 of what was measured, without how this call got it: times and re-use differ between calls that computed nothing new."""
    if results is None:
        return None
    measured = {key: value for key, value in results.items() if key != "stages"}
    return hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()


def digest(snapshot: Snapshot, config: TrackingConfig) -> str:
    """SHA-256 over everything a projection into `config`'s experiment would show."""
    registry = snapshot.run.spec.registry
    return canonical.digest(
        {
            "version": VERSION,
            "uid": snapshot.uid,
            "name": snapshot.run.metadata.name,
            "experiment": config.experiment,
            "registry": None if registry is None else registry.model_dump(mode="json", by_alias=True),
            "plan": snapshot.plan.digest,
            "phase": snapshot.outcome,
            "committed": {f: [m.attempt, m.content_digest] for f, m in snapshot.committed.items()},
            "live": {f: [live.attempt, len(live.rows)] for f, live in snapshot.live.items() if f not in snapshot.committed},
            "results": results_digest(snapshot.results),
            "report": None if snapshot.report is None else snapshot.report.digest,
        }
    )
