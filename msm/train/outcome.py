"""What crosses from the ranks to the entry program: progress lines, outcomes, and the files they lie in.

Files because processes die: a line is whole or absent, an outcome is renamed into place. No torch. Neighbours: `worker` writes,
`launch` reads.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

OutcomeKind = Literal["done", "preempted", "user_error", "fault", "try_again"]


@dataclass(frozen=True, slots=True)
class StepReport:
    """One update, summed over ranks. `loss`: nats per target token; `tokensPerSecond`: without padding. Step 0 means: about to start.

    `seconds` is what the update took, `time` when it ended (seconds since 1970).
    """

    step: int
    totalSteps: int
    loss: float | None = None
    learningRate: float | None = None
    gradientNorm: float | None = None
    tokens: int = 0
    tokensPerSecond: float | None = None
    seconds: float = 0.0
    time: float | None = None


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """How a training ended: at which update, and why. `field` names what the user must change for `user_error`.

    `try_again`: this machine's ranks ended because another machine's did, or never came.
    """

    kind: OutcomeKind
    step: int
    message: str = ""
    field: str | None = None
    fix: str = ""


@dataclass(frozen=True, slots=True)
class WorkFiles:
    """Names inside a job's work directory."""

    work: Path

    @property
    def job(self) -> Path:
        """The TrainJob as JSON."""
        return self.work / "job.json"

    @property
    def stop(self) -> Path:
        """Exists when the ranks are asked to checkpoint and end."""
        return self.work / "stop"

    @property
    def progress(self) -> Path:
        """One JSON line an update, on the machine that leads."""
        return self.work / "progress.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Complete checkpoints, `step-00000012` each."""
        return self.work / "checkpoints"

    @property
    def log(self) -> Path:
        """What torchrun and the ranks print."""
        return self.work / "train.log"

    def outcome(self, rank: int) -> Path:
        """A rank's last word; `rank` counts on this machine."""
        return self.work / f"outcome-rank{rank}.json"

    def clear(self) -> None:
        """Forgets the last attempt in this directory, but not its checkpoints."""
        for path in (self.stop, self.progress, self.log, *self.work.glob("outcome-rank*.json")):
            path.unlink(missing_ok=True)


def write_outcome(path: Path, outcome: TrainOutcome) -> None:
    """Writes beside and renames, so that a reader sees all of it or nothing."""
    write_json(path, asdict(outcome))


def read_outcome(path: Path) -> TrainOutcome | None:
    """The outcome, or None while there is none."""
    try:
        return TrainOutcome(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None


def write_json(path: Path, value: Any) -> None:
    """JSON on disk, whole or not at all."""
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)
