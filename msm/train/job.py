"""What one training is: a frozen document that the entry program writes and every rank reads.

Results depend on the fields of the first part alone; those of the second (machines, processes, micro-batch, ZeRO stage, …) are
resources. No torch. Neighbours: `stages` makes it, `launch` and `worker` read it.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from msm.data.examples import StageKind

ALL_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Frozen(BaseModel):
    """A document without unknown keys that cannot be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Lora(Frozen):
    """Low-rank adapters on all attention and MLP projections, of all layers or of the last `layers`."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(64, ge=1)
    alpha: float = Field(128, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    layers: int | None = Field(None, ge=1)


class Full(Frozen):
    """Every parameter is trained."""

    kind: Literal["full"] = "full"


class TrainJob(Frozen):
    """One training stage. Paths are local; `out` must not exist, `work` holds checkpoints, progress and logs.

    `processes` is ranks a machine. The one machine that `leads` writes checkpoints, progress and `out`; `leads` is the only field in which
    the documents of a training's machines differ, but for paths.
    """

    stage: StageKind
    model: Path
    adapter: Path | None = None
    data: tuple[Path, ...] = Field(min_length=1)
    out: Path
    work: Path
    method: Lora | Full = Field(Lora(), discriminator="kind")
    learningRate: float = Field(1e-4, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmupRatio: float = Field(0.05, ge=0, lt=1)
    weightDecay: float = Field(0.01, ge=0)
    gradientClip: float = Field(1.0, gt=0)
    epochs: int = Field(1, ge=1)
    maxLength: int = Field(4096, ge=2)
    batchTokens: int = Field(131072, ge=1)
    seed: int = Field(0, ge=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    baseName: str | None = None

    machines: int = Field(1, ge=1)
    leads: bool = True
    processes: int = Field(1, ge=1)
    threads: int | None = Field(None, ge=1)
    microBatchRows: int = Field(1, ge=1)
    zeroStage: Literal[0, 1, 2] = 0
    gradientCheckpointing: bool = False
    checkpointEverySteps: int | None = Field(None, ge=1)
    checkpointEverySeconds: float | None = Field(600, gt=0)
    resume: Path | None = None

    @property
    def field(self) -> str:
        """Where a user finds these settings in the run file."""
        return f"spec.training.{self.stage}"
