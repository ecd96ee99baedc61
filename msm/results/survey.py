"""Everything about a run that its results, its report and its cards are drawn from, read once.

Neighbours: `evidence` reads scores, `overlap` and `cautions` judge; `findings` and `compose` show. Invariant: rests on committed
artifacts alone, so that it works on a run at any time. Cost: the score files, the training texts, a bootstrap for each effect of one
seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msm.api import MSMRun
from msm.evals.artifact import HEALTH
from msm.evals.items import Item, parse_items, select
from msm.plan import Plan, Stage, StageRef
from msm.plan.decide import needed
from msm.plan.kinds import CURATE, DEMONSTRATE
from msm.report.asked import ItemSet, Score
from msm.report.model import Caution
from msm.results.artifacts import Artifacts
from msm.results.cautions import Rates, Seen, cautions
from msm.results.evidence import Evidence, arm_scores, gather
from msm.results.overlap import Overlap, find_overlap
from msm.store import ObjectStore


@dataclass(frozen=True, slots=True)
class Survey:
    """A run as far as it is committed; `items` and `overlap` by the eval's name, `health` by (eval, seed, model's fingerprint)."""

    run: MSMRun
    plan: Plan
    artifacts: Artifacts
    missing: tuple[Stage, ...]
    evidence: Evidence
    scores: tuple[Score, ...]
    items: Mapping[str, Sequence[Item]]
    overlap: Mapping[str, Overlap]
    sets: tuple[ItemSet, ...]
    health: Mapping[tuple[str, int, str], Rates]
    cautions: tuple[Caution, ...]


def survey(run: MSMRun, plan: Plan, store: ObjectStore, cache: Path) -> Survey:
    """Read a run.

    Raises:
        IntegrityError: an artifact is damaged.
    """
    artifacts = Artifacts.of(plan, store, cache)
    missing = needed(plan, artifacts.manifests.keys())
    evidence = gather(run, plan, artifacts)
    scores = tuple(score for name, found in evidence.scores.items() for score in arm_scores(name, found))
    items = {e.name: asked_items(run, plan, artifacts, e.name) for e in run.spec.evals if e.name in plan.evaluations}
    overlap = _overlaps(plan, artifacts, items)
    sets = tuple(found for name in items for found in _sets(name, items[name], overlap.get(name)))
    health = dict(_health(plan, artifacts))
    seen = Seen(run, plan, artifacts.manifests, missing, evidence.effects, scores, sets, health)
    return Survey(run, plan, artifacts, missing, evidence, scores, items, overlap, sets, health, cautions(seen))


def asked_items(run: MSMRun, plan: Plan, artifacts: Artifacts, evaluation: str) -> tuple[Item, ...]:
    """The items that an eval asks, from the bytes that were kept at acceptance; none where the store has lost them."""
    spec = next(e for e in run.spec.evals if e.name == evaluation)
    sha256 = plan.resolution.blob(f"evals.{evaluation}.items")
    data = artifacts.blob(sha256) if sha256 is not None else None
    if data is None or spec.items is None:
        return ()
    return select(parse_items(data.decode("utf-8", "replace"), f"evals.{evaluation}.items"), spec.items.limit)


def data_stages(plan: Plan) -> list[Stage]:
    """Stages whose rows are trained on."""
    return [stage for stage in plan.stages if stage.kind in (CURATE, DEMONSTRATE)]


def _overlaps(plan: Plan, artifacts: Artifacts, items: Mapping[str, Sequence[Item]]) -> dict[str, Overlap]:
    """By the eval's name; nothing while some training texts are not there yet."""
    stages = data_stages(plan)
    if not all(stage.ref in artifacts for stage in stages):
        return {}
    texts = [text for stage in stages for text in _texts(artifacts, stage.ref)]
    return {name: find_overlap(found, texts) for name, found in items.items()}


def _texts(artifacts: Artifacts, ref: StageRef) -> Iterator[str]:
    for row in artifacts.rows(ref, "rows.jsonl"):
        yield from ([str(row["text"])] if "text" in row else (str(turn.get("content", "")) for turn in row.get("messages", ())))


def _sets(evaluation: str, items: Sequence[Item], overlap: Overlap | None) -> Iterator[ItemSet]:
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.value, item.set), []).append(item)
    for (value, set_), group in sorted(groups.items(), key=lambda pair: (pair[0][0], pair[0][1] != "free", pair[0][1])):
        shared = overlap.shared(group) if overlap is not None else None
        words = overlap.most_frequent(group) if overlap is not None else ()
        yield ItemSet(eval=evaluation, value=value, set=set_, items=len(group), shared=shared, shared_words=words)


def _health(plan: Plan, artifacts: Artifacts) -> Iterator[tuple[tuple[str, int, str], Rates]]:
    for name, stages in plan.evaluations.items():
        for seed, ref in stages:
            if ref in artifacts:
                for fingerprint, rates in artifacts.document(ref, HEALTH).items():
                    if rates is not None:
                        yield (name, seed, fingerprint), rates
