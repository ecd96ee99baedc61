"""`report.json`: what a run was, what it found, what it rests on and what to doubt.

Neighbours: `msm.results.compose` fills it, `html` and `card` render it, docs/reference publishes its schema. Invariant: a function of the
run's plan and the committed artifacts, but for the seconds and re-use that one executor saw; no path, address or secret of a machine.
Margins are in nats, shares between 0 and 1, times in seconds; long texts are cut and say so.
"""

from datetime import datetime
from typing import Literal

from msm.api.base import Record
from msm.report.asked import AnswerSample, Effect, Health, ItemRow, ItemSet, Score
from msm.report.parts import Corpus, Demonstrations, Training

CautionKind = Literal[
    "unfinished",
    "stale",
    "few-updates",
    "broken-chat",
    "shared-words",
    "only-shared-words",
    "no-control",
    "one-seed",
    "unscored",
    "unpinned",
]


class SpecText(Record):
    """A Model Spec, as it was when the run was accepted."""

    name: str
    """Its name in the run file."""
    identity: str
    """Digest of its text."""
    text: str
    """The text itself, cut when long."""


class Identity(Record):
    """What the run is: enough to tell whether another is the same."""

    name: str
    """Name of the run."""
    uid: str
    """Its name and a digest of its file and local inputs."""
    plan: str
    """SHA-256 of the frozen plan."""
    base_model: str
    """What the run file names."""
    base_identity: str
    """What that turned out to be: a digest, or a repository at a commit."""
    base_name: str
    """What the model calls itself."""
    provider: str
    """Whom it names as its maker."""
    precision: str
    """Arithmetic of training."""
    seeds: tuple[int, ...]
    """Training seeds."""
    specs: tuple[SpecText, ...] = ()
    """Model Specs."""
    inputs: dict[str, str] = {}
    """Identity of every resolved input, by its path in the run file."""
    registered_model: str = ""
    """Name in the model registry."""
    started: datetime | None = None
    """Earliest start of a stage, UTC."""
    ended: datetime | None = None
    """Latest end of a stage, UTC."""


class Caution(Record):
    """Something a reader must know before believing a number."""

    kind: CautionKind
    """Which of the known ones."""
    text: str
    """What is the matter, in a sentence."""
    advice: str
    """What to do about it."""


class Arm(Record):
    """One arm, by what it was trained on."""

    name: str
    """Its name."""
    midtrain: tuple[str, ...]
    """Corpora."""
    finetune: tuple[str, ...]
    """Demonstrations."""
    versus: tuple[str, ...]
    """Arms that it is compared with, the main one first."""


class StageLine(Record):
    """One stage of the plan."""

    name: str
    """For people."""
    kind: str
    """Stage kind."""
    fingerprint: str
    """SHA-256 of what it is made from."""
    state: str
    """Where it stands."""
    reused: bool
    """Found finished by this run."""
    seconds: float | None
    """Time of the attempt that committed it; None before."""
    started: datetime | None
    """Start of that attempt, UTC."""
    metrics: dict[str, float] = {}
    """What it counted and measured, by the names of its manifest."""


class ModelVersion(Record):
    """One trained model: what a registered version is."""

    stage: str
    """Name of the training stage."""
    card: str
    """File name of its model card."""
    kind: Literal["midtrain", "finetune"]
    """Which training."""
    fingerprint: str
    """SHA-256 of what it is made from."""
    content_digest: str
    """SHA-256 over its files; empty before it is committed."""
    arms: tuple[str, ...]
    """Arms whose model it is; empty for one that only others continue."""
    leads_to: tuple[str, ...] = ()
    """Arms that continue it."""
    seed: int
    """Training seed."""
    parent: str = ""
    """Fingerprint of the midtraining that it continues; empty for the base model."""
    data: tuple[str, ...]
    """Corpora or demonstrations it learned from."""
    candidate: bool = False
    """Whether the alias `candidate` goes to it."""
    method: str
    """LoRA with its sizes, or full."""
    bytes: int = 0
    """Size of its files."""


class Report(Record):
    """One run, finished or not."""

    api_version: Literal["modelspec.dev/v1alpha2"] = "modelspec.dev/v1alpha2"
    """Version of this format; v1alpha2 says of a corpus how it reads, what it covers, who wrote it."""
    kind: Literal["Report"] = "Report"
    """What the file is."""
    run: Identity
    """What was run."""
    phase: str
    """Running, Succeeded, Failed or Suspended."""
    missing: tuple[str, ...] = ()
    """Stages that must still run; what depends on them is not in the report."""
    sentence: str
    """What was found."""
    cautions: tuple[Caution, ...]
    """What to know before believing it."""
    arms: tuple[Arm, ...]
    """What is compared."""
    sets: tuple[ItemSet, ...]
    """What is asked."""
    effects: tuple[Effect, ...]
    """Arms against their controls."""
    scores: tuple[Score, ...]
    """Arms side by side."""
    trainings: tuple[Training, ...]
    """Trainings, with their loss."""
    corpora: tuple[Corpus, ...]
    """What midtraining read."""
    demonstrations: tuple[Demonstrations, ...]
    """What fine-tuning read."""
    answers: tuple[AnswerSample, ...]
    """Samples of answers."""
    health: tuple[Health, ...]
    """Chat format after training."""
    items: tuple[ItemRow, ...]
    """Every item."""
    versions: tuple[ModelVersion, ...]
    """Trained models."""
    stages: tuple[StageLine, ...]
    """What was done, what was there already."""
    software: dict[str, tuple[str, ...]]
    """Package -> versions that made the artifacts; more than one means that they were made by different ones."""
    hardware: dict[str, tuple[str, ...]] = {}
    """What is known of the machines that trained."""
