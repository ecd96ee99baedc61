"""A run as one report: what it was, what it found, what that rests on.

Neighbours: `survey` reads, `learned` and `samples` tell of data and training, `msm.report` renders the result, `publish` keeps it.
Invariant: the same artifacts give the same report, but for the states and re-use that an executor saw; works on an unfinished run. Cost:
reading every corpus once beside the survey.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import numpy as np

from msm.evals.effects import ArmLike, controls_of
from msm.evals.statistics import Effect as Compared
from msm.plan.kinds import TRAINING
from msm.report.asked import AnswerSample, Chat, Effect, Health, ItemRow
from msm.report.model import Arm, Identity, Report, SpecText, StageLine
from msm.results import learned, samples
from msm.results.evidence import Scores, paired_means
from msm.results.rows import StageRow
from msm.results.survey import Survey

LONGEST_SPEC = 8000


def compose(seen: Survey, uid: str, phase: str, stages: Sequence[StageRow]) -> Report:
    """The report. `stages`: what the executor knows of states and re-use; empty when nobody executed the run here."""
    run, plan, artifacts = seen.run, seen.plan, seen.artifacts
    return Report(
        run=_identity(seen, uid),
        phase=phase,
        missing=tuple(stage.name for stage in seen.missing),
        sentence=seen.evidence.sentence or "Nothing was evaluated yet.",
        cautions=seen.cautions,
        arms=tuple(_arm(arm, run.spec.arms) for arm in run.spec.arms),
        sets=seen.sets,
        effects=tuple(_effect(effect, seen.evidence.scores[effect.metric.split(".", 1)[0]]) for effect in seen.evidence.effects),
        scores=seen.scores,
        trainings=tuple(learned.trainings(plan, artifacts)),
        corpora=tuple(learned.corpora(run, plan, artifacts)),
        demonstrations=tuple(learned.demonstrations(run, plan, artifacts)),
        answers=tuple(sample for name, scores in seen.evidence.scores.items() for sample in _answers(seen, name, scores)),
        health=tuple(_health(seen)),
        items=tuple(row for name, scores in seen.evidence.scores.items() for row in _items(seen, name, scores)),
        versions=tuple(learned.versions(run, plan, artifacts)),
        stages=tuple(_stages(seen, {row.name: row for row in stages})),
        software=_software(seen),
        hardware=_hardware(seen),
    )


def _identity(seen: Survey, uid: str) -> Identity:
    run, plan = seen.run, seen.plan
    manifests = seen.artifacts.manifests.values()
    return Identity(
        name=run.metadata.name,
        uid=uid,
        plan=plan.digest,
        base_model=public_address(run.spec.base_model.uri),
        base_identity=plan.resolution.identity("baseModel"),
        base_name=run.spec.base_model.identity.model,
        provider=run.spec.base_model.identity.provider,
        precision=plan.resolution.precision,
        seeds=run.spec.seeds,
        specs=tuple(_specs(seen)),
        inputs={path: resolved.identity for path, resolved in sorted(plan.resolution.inputs.items())},
        registered_model=run.spec.registry.model if run.spec.registry is not None else run.metadata.name,
        started=min((m.started for m in manifests), default=None),
        ended=max((m.ended for m in manifests), default=None),
    )


def public_address(uri: str) -> str:
    """An address without what belongs to one machine: of a path, the last part alone."""
    parts = urlsplit(uri)
    return f"file://…/{PurePosixPath(parts.path).name}" if parts.scheme in ("", "file") else uri


def _specs(seen: Survey) -> Iterator[SpecText]:
    for spec in seen.run.spec.model_specs:
        path = f"modelSpecs.{spec.name}"
        if path in seen.plan.resolution.inputs:
            sha256 = seen.plan.resolution.blob(path)
            data = seen.artifacts.blob(sha256) if sha256 is not None else None
            text = samples.cut((data or b"").decode("utf-8", "replace"), LONGEST_SPEC)
            yield SpecText(name=spec.name, identity=seen.plan.resolution.identity(path), text=text)


def _arm(arm: ArmLike, arms: Sequence[ArmLike]) -> Arm:
    return Arm(name=arm.name, midtrain=tuple(arm.midtrain), finetune=tuple(arm.finetune), versus=controls_of(arm, arms))


def _effect(effect: Compared, scores: Scores) -> Effect:
    return Effect(
        metric=effect.metric,
        arm=effect.arm,
        versus=effect.versus,
        estimate=effect.estimate,
        low=effect.low,
        high=effect.high,
        confidence=effect.confidence,
        over=effect.over,
        seeds=effect.seeds,
        items=effect.items,
        unscored=effect.unscored,
        by_seed=paired_means(effect, scores),
    )


def _answers(seen: Survey, evaluation: str, scores: Scores) -> tuple[AnswerSample, ...]:
    """Answers of the first listed seed that is evaluated."""
    seed = next(seed for seed in seen.run.spec.seeds if seed in scores)
    return samples.answers(evaluation, seen.items[evaluation], seed, scores[seed])


def _health(seen: Survey) -> Iterator[Health]:
    """In the order of seeds and arms."""
    for evaluation in seen.plan.evaluations:
        for model in seen.plan.models:
            rates = seen.health.get((evaluation, model.seed, model.model.fingerprint))
            if rates is not None:
                chats = tuple(Chat(prompt=s["prompt"], text=samples.cut(s["text"], 400), ended=s["ended"]) for s in rates["samples"])
                shares = {name: rates[name] for name in ("ended", "repeated", "leaked", "empty")}
                yield Health(eval=evaluation, arm=model.arm, seed=model.seed, samples=chats, **shares)


def _items(seen: Survey, evaluation: str, scores: Scores) -> Iterator[ItemRow]:
    margins: dict[str, dict[str, list[float]]] = {}
    for by_arm in scores.values():
        for arm, rows in by_arm.items():
            for row in rows:
                margins.setdefault(row.id, {}).setdefault(arm, []).append(row.margin)
    overlap = seen.overlap.get(evaluation)
    for item in seen.items[evaluation]:
        if item.id in margins:
            yield ItemRow(
                eval=evaluation,
                id=item.id,
                value=item.value,
                set=item.set,
                domain=item.domain,
                question=item.question,
                options=(item.aligned, item.other),
                shared=bool(overlap.words[item.id]) if overlap is not None else None,
                margins={arm: round(float(np.mean(found)), 4) for arm, found in margins[item.id].items()},
            )


def _stages(seen: Survey, known: Mapping[str, StageRow]) -> Iterator[StageLine]:
    waiting = {stage.fingerprint for stage in seen.missing}
    for stage in seen.plan.stages:
        row, manifest = known.get(stage.name), seen.artifacts.manifests.get(stage.fingerprint)
        state = "done" if manifest is not None else row.state if row is not None and row.state != "done" else "pending"
        yield StageLine(
            name=stage.name,
            kind=stage.kind,
            fingerprint=stage.fingerprint,
            state=state if manifest is not None or stage.fingerprint in waiting else "not needed",
            reused=row.reused if row is not None else False,
            seconds=(manifest.ended - manifest.started).total_seconds() if manifest is not None else None,
            started=manifest.started if manifest is not None else None,
            metrics=dict(sorted(manifest.metrics.items())) if manifest is not None else {},
        )


def _software(seen: Survey) -> dict[str, tuple[str, ...]]:
    """Versions by package over all committed artifacts."""
    found: dict[str, set[str]] = {}
    for manifest in seen.artifacts.manifests.values():
        for name, version in manifest.versions.items():
            found.setdefault(name, set()).add(version)
    return {name: tuple(sorted(versions)) for name, versions in sorted(found.items())}


def _hardware(seen: Survey) -> dict[str, tuple[str, ...]]:
    """What trainings recorded of what they ran on, as numbers in their manifests."""
    named = {"processes": "processes", "zeroStage": "ZeRO stage", "microBatchRows": "rows a micro-batch"}
    found: dict[str, set[str]] = {}
    for stage in seen.plan.stages:
        manifest = seen.artifacts.manifests.get(stage.fingerprint)
        for key, words in named.items():
            if stage.kind in TRAINING and manifest is not None and key in manifest.metrics:
                found.setdefault(words, set()).add(f"{manifest.metrics[key]:g}")
    return {words: tuple(sorted(values)) for words, values in found.items()}
