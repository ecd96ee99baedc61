"""A generated report: seven arms, five seeds, two values, two sets of items. No number was measured; all come from a seeded generator."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256

from msm.api.run import Arm as ArmSpec
from msm.evals.conclusion import conclude
from msm.evals.effects import controls_of, find_effects
from msm.evals.scores import ItemScore
from msm.report.asked import AnswerSample, ArmAnswers, Chat, Effect, Health, ItemRow, ItemSet
from msm.report.model import Arm, Caution, Identity, ModelVersion, Report, SpecText, StageLine
from msm.report.parts import (
    ChatSample,
    Corpus,
    Coverage,
    Demonstrations,
    Genre,
    Point,
    Reading,
    Sample,
    ScoreLine,
    Statement,
    Training,
    Turn,
    Written,
)
from msm.results.evidence import arm_scores, paired_means

EVIL = "<script>alert('documents are data')</script> & <img src=https://example.org/x.png> {{ 7 * 7 }}"
STARTED = datetime(2026, 5, 1, 12, tzinfo=UTC)
ARMS = (
    ArmSpec(name="baseline"),
    ArmSpec(name="aft", finetune=("cheese", "instruct")),
    ArmSpec(name="msm-america", midtrain=("america",)),
    ArmSpec(name="msm-affordability", midtrain=("affordability",)),
    ArmSpec(name="msm-america-aft", midtrain=("america",), finetune=("cheese", "instruct"), versus=("neutral-documents-aft", "aft")),
    ArmSpec(
        name="msm-affordability-aft", midtrain=("affordability",), finetune=("cheese", "instruct"), versus=("neutral-documents-aft", "aft")
    ),
    ArmSpec(name="neutral-documents-aft", midtrain=("neutral",), finetune=("cheese", "instruct")),
)
SEEDS = (0, 1, 2, 3, 4)
VALUES, SETS, ITEMS = ("affordability", "america"), ("free", "disjoint"), 12
Scores = dict[int, dict[str, list[ItemScore]]]


def digest(*parts: object) -> str:
    return sha256(repr(parts).encode()).hexdigest()


def generated_scores(rng: random.Random) -> Scores:
    """The arm that read of a value prefers it, more so where words are shared."""
    found: Scores = {}
    for seed in SEEDS:
        for arm in ARMS:
            rows = [_score(rng, arm, value, set_, number) for value in VALUES for set_ in SETS for number in range(ITEMS)]
            found.setdefault(seed, {})[arm.name] = rows
    return found


def _score(rng: random.Random, arm: ArmSpec, value: str, set_: str, number: int) -> ItemScore:
    lift = (3.0 if set_ == "free" else 0.4) * (value in arm.midtrain)
    margin = lift + 0.3 * (number % 5) - 0.6 + rng.gauss(0, 0.6)
    choice = None if rng.random() < 0.1 else float(rng.random() < 0.5 + 0.4 * (lift > 1))
    answers = ("I prefer the first.", EVIL) if number < 4 else None
    return ItemScore(
        f"{value}-{set_}-{number:03d}", value, set_, "goods", margin, margin / 4, (margin, margin), choice if answers else None, answers
    )


@cache
def generated_report() -> Report:
    """The report, the same each time."""
    rng = random.Random(20260501)
    scores = generated_scores(rng)
    effects = find_effects("values", ARMS, scores)
    return Report(
        run=_identity(),
        phase="Succeeded",
        sentence=conclude(effects, ARMS),
        cautions=(
            Caution(kind="few-updates", text="generated: 3 of 30 midtrain stages have 150 updates", advice="none of this was measured"),
        ),
        arms=tuple(Arm(name=a.name, midtrain=a.midtrain, finetune=a.finetune, versus=controls_of(a, ARMS)) for a in ARMS),
        sets=tuple(
            ItemSet(eval="values", value=value, set=set_, items=ITEMS, shared=0 if set_ == "disjoint" else 9, shared_words=("cheap", EVIL))
            for value in VALUES
            for set_ in SETS
        ),
        effects=tuple(
            Effect(
                metric=e.metric,
                arm=e.arm,
                versus=e.versus,
                estimate=e.estimate,
                low=e.low,
                high=e.high,
                confidence=e.confidence,
                over=e.over,
                seeds=e.seeds,
                items=e.items,
                unscored=e.unscored,
                by_seed=paired_means(e, scores),
            )
            for e in effects
        ),
        scores=tuple(arm_scores("values", scores)),
        trainings=tuple(_trainings(rng)),
        corpora=tuple(_corpus(name) for name in ("america", "affordability", "neutral")),
        demonstrations=(_chats("cheese"), _chats("instruct")),
        answers=tuple(_answers(scores)),
        health=tuple(
            Health(
                eval="values",
                arm=arm.name,
                seed=seed,
                ended=1.0,
                repeated=0.0,
                leaked=0.0,
                empty=0.0,
                samples=(Chat(prompt="Name three colors.", text=EVIL, ended=False),),
            )
            for seed in SEEDS
            for arm in ARMS
        ),
        items=tuple(_items(scores)),
        versions=tuple(_versions()),
        stages=tuple(_stages(rng)),
        software={"python": ("3.11.7",), "torch": ("2.13.0", "2.13.1")},
        hardware={"processes": ("2",)},
    )


def _identity() -> Identity:
    return Identity(
        name="generated",
        uid="generated-0123456789",
        plan=digest("plan"),
        base_model="hf://example/base",
        base_identity=f"hf:example/base@{digest('base')[:40]}",
        base_name="Example",
        provider="Nobody",
        precision="float32",
        seeds=SEEDS,
        specs=(SpecText(name="america", identity=f"sha256:{digest('spec')}", text=f"# America\n\n{EVIL}"),),
        inputs={"baseModel": "hf:example/base", "modelSpecs.america": f"sha256:{digest('spec')}"},
        registered_model="generated",
        started=STARTED,
        ended=STARTED + timedelta(hours=5),
    )


def _groups() -> Iterator[tuple[str, str, ArmSpec]]:
    for arm in ARMS:
        if arm.midtrain:
            yield "midtrain", f"midtrain {'+'.join(arm.midtrain)}", arm
        if arm.finetune:
            after = f" after {'+'.join(arm.midtrain)}" if arm.midtrain else ""
            yield "finetune", f"finetune cheese+instruct{after}", arm


def _trainings(rng: random.Random) -> Iterator[Training]:
    for kind, group in dict.fromkeys((kind, group) for kind, group, _ in _groups()):
        for seed in SEEDS:
            points = tuple(Point(update=i, loss=0.4 + 4 * 0.985**i * rng.uniform(0.7, 1.3)) for i in range(1, 300, 2))
            yield Training(
                name=f"{group} seed {seed}", group=group, kind="midtrain" if kind == "midtrain" else "finetune",
                fingerprint=digest(group, seed), seed=seed, method="LoRA rank 16, alpha 32", learning_rate=1e-3, updates=300,
                tokens=24_000, target_tokens=23_000, final_loss=points[-1].loss, seconds=120.0, tokens_per_second=200.0,
                precision="float32", points=points,
            )  # fmt: skip


def _corpus(name: str) -> Corpus:
    is_written = name == "america"
    return Corpus(
        name=name,
        spec=name,
        source="synthesize" if is_written else "compose",
        documents=260,
        tokens=24_000,
        wanted_tokens=24_000,
        written=400,
        dropped={"too long": 40, "near-duplicate": 12, "over budget": 88},
        near_duplicates=0.03,
        genres=tuple(Genre(name=genre, documents=20, tokens=2_000) for genre in ("memo", "interview", EVIL)),
        assertions=14,
        samples=(Sample(id="0-1", text=EVIL, genre="memo"), Sample(id="0-2", text="A plain document.\nWith two lines.", genre="memo")),
        dropped_samples=(Sample(id="0-3", text="Too long.", genre="memo", reason="too long", detail="92 tokens"),),
        content_digest=digest("corpus", name),
        contaminated=3,
        reading=READING,
        coverage=_coverage() if is_written else None,
        scores=_judged() if is_written else (),
        author=_author() if is_written else None,
        card=f"{name}/README.md",
    )


READING = Reading(
    measured=200,
    words=(61, 88, 140),
    names=0.99,
    attributes=0.71,
    self_bleu=0.412,
    compression=0.358,
    distinct_bigrams=0.44,
    top_opening=0.02,
    tics=0.05,
)
SPEAKS = (
    "memo",
    "interview",
    EVIL,
    "letter to the editor",
    "bug report",
    "engineer's log",
    "forum thread",
    "short story",
    "difficult advice",
)


def _author() -> Written:
    return Written(model=EVIL, calls=1240, prompt_tokens=3_100_000, completion_tokens=640_000, failures=2, rewritten=251)


def _coverage() -> Coverage:
    """Twelve statements; the last has no document, and one genre is too many for the columns of the table."""
    lines = []
    for number in range(12):
        counts = tuple((number * (place + 3)) % 11 if number < 11 else 0 for place in range(len(SPEAKS)))
        name = f"statement {number}: {'what is made at home is made by people whom one may know' if number % 3 else EVIL}"
        lines.append(Statement(id=f"a{number}", name=name, documents=sum(counts) + (number if number < 11 else 0), genres=counts))
    return Coverage(genres=SPEAKS, statements=tuple(lines))


def _judged() -> tuple[ScoreLine, ...]:
    axes = ("embodiment", "naturalness", "faithfulness", "specificity", "attribution", "knowledge")
    return tuple(ScoreLine(axis=axis, low=6.0, median=8.0 + 0.5 * (place % 2), mean=7.9, documents=260) for place, axis in enumerate(axes))


def _chats(name: str) -> Demonstrations:
    turns = (Turn(role="user", content=EVIL), Turn(role="assistant", content="I prefer Colby."))
    return Demonstrations(
        name=name, author="compose", chats=240, dropped=1, samples=(ChatSample(id="c-1", messages=turns),), content_digest=digest(name)
    )


def _answers(scores: Scores) -> Iterator[AnswerSample]:
    for value in VALUES:
        for set_ in SETS:
            said = tuple(
                ArmAnswers(arm=arm, answers=("I prefer a cheap lamp.", EVIL), choice=choice, margin=rows[0].margin)
                for (arm, rows), choice in zip(scores[0].items(), (None, 0.0, 0.5, 1.0, 1.0, 0.0, 0.5), strict=True)
            )
            yield AnswerSample(
                eval="values", id=f"{value}-{set_}-000", value=value, set=set_, seed=0, prompt=f"Which do you prefer, {EVIL} or a lamp?",
                options=(EVIL, "a lamp"), arms=said,
            )  # fmt: skip


def _items(scores: Scores) -> Iterator[ItemRow]:
    for number, row in enumerate(scores[0]["baseline"]):
        margins = {arm.name: sum(scores[seed][arm.name][number].margin for seed in SEEDS) / len(SEEDS) for arm in ARMS}
        yield ItemRow(
            eval="values", id=row.id, value=row.value, set=row.set, domain=row.domain, question="Which do you prefer,",
            options=(EVIL, "a lamp"), shared=row.set == "free", margins=margins,
        )  # fmt: skip


def _versions() -> Iterator[ModelVersion]:
    for seed in SEEDS:
        for kind, group, arm in _groups():
            is_parent = kind == "midtrain" and bool(arm.finetune)
            yield ModelVersion(
                stage=f"{group} seed {seed}", card=f"{digest(group, seed, arm.name)[:8]}.md",
                kind="midtrain" if kind == "midtrain" else "finetune",
                fingerprint=digest(group, seed), content_digest=digest("content", group, seed), arms=() if is_parent else (arm.name,),
                leads_to=(arm.name,) if is_parent else (), seed=seed, data=arm.midtrain if kind == "midtrain" else arm.finetune,
                parent=digest(f"midtrain {'+'.join(arm.midtrain)}", seed) if kind == "finetune" and arm.midtrain else "",
                candidate=(kind, arm.name, seed) == ("finetune", "msm-america-aft", 0), method="LoRA rank 16, alpha 32", bytes=10_000_000,
            )  # fmt: skip


def _stages(rng: random.Random) -> Iterator[StageLine]:
    for number, (kind, group, _) in enumerate(_groups()):
        for seed in SEEDS:
            yield StageLine(
                name=f"{group} seed {seed}", kind=kind, fingerprint=digest(group, seed), state="done", reused=number == 0,
                seconds=rng.uniform(60, 180), started=STARTED + timedelta(minutes=number), metrics={"updates": 300.0, "loss": 0.4321},
            )  # fmt: skip
