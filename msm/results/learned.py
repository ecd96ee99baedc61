"""What was read and learned, from the artifacts of corpora, demonstrations and trainings.

Neighbours: `compose` asks, `samples` chooses texts. Invariant: an artifact that is not committed is left out, nothing is guessed. Cost:
the rows of each corpus once; a curve is thinned to `MOST_POINTS` means.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from msm.api import MSMRun
from msm.plan import Plan, Stage, StageRef, kinds
from msm.report.model import ModelVersion
from msm.report.parts import Corpus, Demonstrations, Genre, Point, Training
from msm.results import samples
from msm.results.artifacts import Artifacts
from msm.results.corpus import Corpus as Opened
from msm.results.corpus import curated, open_corpus
from msm.results.reading import author_of, coverage_of, reading_of, scores_of
from msm.synth.gates import CONTAMINATED

MOST_POINTS = 200


def corpora(run: MSMRun, plan: Plan, artifacts: Artifacts) -> Iterator[Corpus]:
    """Every corpus that is curated, in the order of the file."""
    for corpus in run.spec.corpora:
        stage = curated(plan, corpus.name)
        if stage is not None and stage.ref in artifacts:
            source = "source" if corpus.source is not None else "compose" if corpus.compose is not None else "synthesize"
            opened = open_corpus(run, plan, artifacts, corpus.name)
            found = _corpus(opened, corpus.model_spec or "", source, artifacts.manifest(stage.ref).content_digest)
            yield found.model_copy(update={"author": author_of(opened, plan, stage, artifacts), "card": f"{corpus.name}/README.md"})


def _corpus(opened: Opened, spec: str, source: str, digest: str) -> Corpus:
    rows, stats = opened.kept, opened.stats
    strata = stats.get("strata", [])
    return Corpus(
        name=opened.name,
        spec=spec,
        source=source,
        documents=stats.get("documents", len(rows)),
        tokens=stats.get("tokens", 0),
        wanted_tokens=stats.get("budget", {}).get("tokens"),
        written=stats.get("input", {}).get("documents", len(rows)),
        dropped=stats.get("dropped", {}),
        near_duplicates=stats.get("nearDuplicateRate", 0.0),
        genres=_genres(strata),
        assertions=sum(bool(genres) for genres in opened.coverage.values()),
        contaminated=stats.get("dropped", {}).get(CONTAMINATED, 0),
        reading=reading_of(opened),
        coverage=coverage_of(opened),
        scores=scores_of(rows),
        samples=samples.documents(rows),
        dropped_samples=samples.dropped_documents(opened.dropped),
        content_digest=digest,
    )


def _genres(strata: Sequence[Mapping[str, Any]]) -> tuple[Genre, ...]:
    documents, tokens = Counter[str](), Counter[str]()
    for stratum in strata:
        documents[stratum["genre"]] += stratum["documents"]
        tokens[stratum["genre"]] += stratum["tokens"]
    return tuple(Genre(name=name or "(none)", documents=n, tokens=tokens[name]) for name, n in documents.most_common())


def demonstrations(run: MSMRun, plan: Plan, artifacts: Artifacts) -> Iterator[Demonstrations]:
    """Every committed set of chats, in the order of the file."""
    stages = {stage.name: stage for stage in plan.stages if stage.kind == kinds.DEMONSTRATE}
    for demonstration in run.spec.demonstrations:
        stage = stages.get(f"demonstrate {demonstration.name}")
        if stage is not None and stage.ref in artifacts:
            kept, dropped = artifacts.rows(stage.ref, "rows.jsonl"), artifacts.rows(stage.ref, "dropped.jsonl")
            yield Demonstrations(
                name=demonstration.name,
                author=str(stage.params.get("author", "")),
                chats=len(kept),
                dropped=len(dropped),
                samples=samples.chats(kept, dropped),
                content_digest=artifacts.manifest(stage.ref).content_digest,
            )


def trainings(plan: Plan, artifacts: Artifacts) -> Iterator[Training]:
    """Every committed training, in plan order."""
    for stage in plan.stages:
        if stage.kind in kinds.TRAINING and stage.ref in artifacts:
            yield _training(stage, artifacts)


def training_kind(stage: Stage) -> Literal["midtrain", "finetune"]:
    """Which training a training stage is."""
    return "midtrain" if stage.kind == kinds.MIDTRAIN else "finetune"


def _training(stage: Stage, artifacts: Artifacts) -> Training:
    metrics, history = artifacts.manifest(stage.ref).metrics, artifacts.rows(stage.ref, "metrics.jsonl")
    seed = seed_of(stage)
    return Training(
        name=stage.name,
        group=stage.name.removesuffix(f" seed {seed}"),
        kind=training_kind(stage),
        fingerprint=stage.fingerprint,
        seed=seed,
        method=method_of(stage),
        learning_rate=_number(stage.params, "learningRate"),
        updates=int(metrics.get("updates", len(history))),
        tokens=int(metrics.get("tokens", 0)),
        target_tokens=int(metrics.get("targetTokens", 0)),
        final_loss=metrics.get("loss"),
        seconds=metrics.get("seconds"),
        tokens_per_second=metrics.get("tokensPerSecond"),
        precision=str(stage.params.get("precision", "")),
        points=thin([(int(row["step"]), float(row["loss"])) for row in history if math.isfinite(row.get("loss", math.nan))]),
    )


def seed_of(stage: Stage) -> int:
    """Training seed of a training stage."""
    return int(_number(stage.params, "seed"))


def _number(params: Mapping[str, Any], name: str) -> float:
    return float(params.get(name) or 0)


def method_of(stage: Stage) -> str:
    """LoRA with its sizes, or full."""
    method = stage.params.get("method")
    lora = method.get("lora") if isinstance(method, dict) else None
    if not isinstance(lora, dict):
        return "full"
    layers = f", last {lora['layers']} layers" if lora.get("layers") else ""
    return f"LoRA rank {lora.get('rank')}, alpha {lora.get('alpha'):g}{layers}"


def thin(history: Sequence[tuple[int, float]], most: int = MOST_POINTS) -> tuple[Point, ...]:
    """A curve of at most `most` points: each is the mean loss since the point before, at the last update of them."""
    size = max(1, math.ceil(len(history) / most))
    pieces = [history[start : start + size] for start in range(0, len(history), size)]
    return tuple(Point(update=piece[-1][0], loss=sum(loss for _, loss in piece) / len(piece)) for piece in pieces)


def versions(run: MSMRun, plan: Plan, artifacts: Artifacts) -> Iterator[ModelVersion]:
    """Every trained model of the plan, committed or not; one that others continue before those."""
    registry = run.spec.registry
    names = data_names(plan)
    for stage in plan.stages:
        if stage.kind in kinds.TRAINING:
            here = [m for m in plan.models if m.model.fingerprint == stage.fingerprint]
            after = [m for m in plan.models if m.parent is not None and m.parent.fingerprint == stage.fingerprint]
            manifest = artifacts.manifests.get(stage.fingerprint)
            first = registry is not None and (registry.candidate, run.spec.seeds[0]) in {(m.arm, m.seed) for m in here}
            yield ModelVersion(
                stage=stage.name,
                card=f"{slug(stage)}.md",
                kind=training_kind(stage),
                fingerprint=stage.fingerprint,
                content_digest=manifest.content_digest if manifest is not None else "",
                arms=tuple(dict.fromkeys(m.arm for m in here)),
                leads_to=tuple(dict.fromkeys(m.arm for m in after)),
                seed=seed_of(stage),
                parent=next((ref.fingerprint for ref in stage.inputs.get("parent", ())), ""),
                data=tuple(names[ref.fingerprint] for ref in stage.inputs.get("data", ())),
                candidate=first,
                method=method_of(stage),
                bytes=sum(entry.size for entry in manifest.files.values()) if manifest is not None else 0,
            )


def data_names(plan: Plan) -> dict[str, str]:
    """Name of the corpus or demonstration by the fingerprint of the stage that makes it."""
    return {stage.fingerprint: stage.name.partition(" ")[2] for stage in plan.stages if stage.kind in (kinds.CURATE, kinds.DEMONSTRATE)}


def slug(stage: Stage | StageRef) -> str:
    """A file name for a stage: its name with dashes and the beginning of its fingerprint, since names of two stages may be equal."""
    name = stage.name if isinstance(stage, Stage) else stage.kind
    words = "".join(c if c.isalnum() else "-" for c in name.lower())
    return f"{words[:100].strip('-')}-{stage.fingerprint[:8]}"
