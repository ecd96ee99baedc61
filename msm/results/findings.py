"""From score files to results: which model was which arm, effects against controls, warnings in plain words.

Neighbours: `msm.evals.effects` compares, the executor's session keeps the outcome. Pure but for reading artifacts from the store.
Invariant: a number in the results is recomputed from committed artifacts, never carried over.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from msm.api import MSMRun
from msm.errors import IntegrityError
from msm.evals.artifact import HEALTH, SCORES
from msm.evals.conclusion import conclude
from msm.evals.effects import SummaryRow, find_effects, summarise
from msm.evals.scores import ItemScore, read_scores
from msm.evals.statistics import Effect
from msm.plan import Plan, StageRef
from msm.plan.decide import stale
from msm.plan.kinds import TRAINING
from msm.results.rows import ArmRow, EffectRow, Results, StageRow
from msm.store import ObjectStore
from msm.store.artifacts import Manifest, materialise, read_manifest
from msm.train.counting import warn_few_updates

Open = Callable[[StageRef], Path]
"""An artifact as a directory."""
Scores = dict[int, dict[str, Sequence[ItemScore]]]
"""seed -> arm -> scores."""


def find(run: MSMRun, plan: Plan, store: ObjectStore, cache: Path, stages: tuple[StageRow, ...]) -> Results:
    """Everything that a finished run says."""
    artifact = opener(store, cache)
    effects: list[Effect] = []
    sentences: list[str] = []
    arms: list[ArmRow] = []
    for evaluation, refs in plan.evaluations.items():
        scores = {seed: _scores_of(plan, artifact, ref, seed) for seed, ref in refs}
        found = find_effects(evaluation, run.spec.arms, scores)
        effects += found
        sentences.append(conclude(found, run.spec.arms))
        arms += [_arm_row(evaluation, row) for row in summarise(scores)]
    return Results(
        run=plan.run,
        effects=tuple(_effect_row(effect) for effect in effects),
        stages=stages,
        arms=tuple(arms),
        sentence=" ".join(sentences),
        warnings=tuple(_warnings(run, plan, store, artifact)),
    )


def opener(store: ObjectStore, cache: Path) -> Open:
    """Open artifacts of a store, digests verified, through a cache directory."""

    def open_artifact(ref: StageRef) -> Path:
        return materialise(store, _committed(store, ref), cache / "artifacts" / ref.kind / ref.fingerprint)

    return open_artifact


def _committed(store: ObjectStore, ref: StageRef) -> Manifest:
    manifest = read_manifest(store, ref.kind, ref.fingerprint)
    if manifest is None:
        raise IntegrityError(f"{ref.kind}/{ref.fingerprint} is not committed; run the file again")
    return manifest


def _scores_of(plan: Plan, artifact: Open, ref: StageRef, seed: int) -> dict[str, Sequence[ItemScore]]:
    """Scores by arm; models are labelled by fingerprint in the artifact, and two arms may share one."""
    by_model = read_scores(artifact(ref) / SCORES)
    return {m.arm: by_model[m.model.fingerprint] for m in plan.models if m.seed == seed}


def _effect_row(effect: Effect) -> EffectRow:
    return EffectRow(
        metric=effect.metric,
        arm=effect.arm,
        versus=effect.versus,
        estimate=effect.estimate,
        low=effect.low,
        high=effect.high,
        confidence=effect.confidence,
        seeds=effect.seeds,
        items=effect.items,
    )


def _arm_row(evaluation: str, row: SummaryRow) -> ArmRow:
    return ArmRow(
        arm=row.arm,
        metric=f"{evaluation}.{row.value}.{row.set}",
        mean=row.margin,
        standard_error=row.standard_error,
        choice=row.choice,
        unscored=row.unscored,
        items=row.items,
    )


def _warnings(run: MSMRun, plan: Plan, store: ObjectStore, artifact: Open) -> Iterator[str]:
    """What a reader must know before believing the table."""
    if len(run.spec.seeds) == 1:
        yield "one seed: the intervals speak of items, not of what another training run would give"
    for stage in plan.stages:
        if stage.kind in TRAINING:
            updates = int(_committed(store, stage.ref).metrics["updates"])
            if (warning := warn_few_updates(updates, stage.name)) is not None:
                yield warning
    yield from stale_warnings(plan, store)
    for stages in plan.evaluations.values():
        for seed, ref in stages:
            yield from _health_warnings(plan, seed, json.loads((artifact(ref) / HEALTH).read_text(encoding="utf-8")))


def stale_warnings(plan: Plan, store: ObjectStore) -> Iterator[str]:
    """Stages that read other bytes than their input has now: it was deleted and made again, and came out differently."""
    found = {stage.fingerprint: read_manifest(store, stage.kind, stage.fingerprint) for stage in plan.stages}
    current = {fingerprint: manifest.content_digest for fingerprint, manifest in found.items() if manifest is not None}
    for stage in plan.stages:
        if (manifest := found[stage.fingerprint]) is not None:
            recorded = {ref.fingerprint: ref.content_digest for refs in manifest.inputs.values() for ref in refs}
            for fingerprint in stale(recorded, current):
                yield f"{stage.name} is stale: its input {fingerprint[:12]} was made again since, with other contents"


def _health_warnings(plan: Plan, seed: int, health: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    for model in plan.models:
        rates = health.get(model.model.fingerprint)
        if model.seed != seed or rates is None:
            continue
        if rates["ended"] < 0.5 or max(rates["repeated"], rates["leaked"], rates["empty"]) > 0.5:
            named = ", ".join(f"{name} {rates[name]:.0%}" for name in ("ended", "repeated", "leaked", "empty"))
            yield f"{model.arm} seed {seed}: its chat format is damaged ({named} of the everyday questions)"
