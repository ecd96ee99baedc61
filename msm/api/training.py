"""How a run trains: method, the two stages' recipes, precision, DeepSpeed settings, resources.

Neighbours: `run` assembles it, `msm.plan` splits it into what can change a result (fingerprinted) and what cannot, `msm.train`
executes it. Defaults are the paper's recipe (arXiv 2605.02087, B.4); batch size is not published, ours is chosen so that a million
tokens are more than a hundred updates.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from msm.api.base import Duration, Part
from msm.api.pods import check_template


class Lora(Part):
    """Low-rank adapters on all attention and MLP projections."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 64
    """Rank of the update."""
    alpha: Annotated[float, Field(gt=0, le=4096)] = 128
    """Scale: the update is multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the adapter's input."""
    layers: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Adapt only this many layers, the last ones, which saves most of the backward pass; absent adapts all."""


class Resources(Part):
    """What a training attempt runs on; never changes a result, so never changes a fingerprint."""

    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Machines."""
    gpus_per_node: Annotated[int, Field(ge=0, le=64)] = 0
    """GPUs a machine; 0 trains on the processor."""
    processes_per_node: Annotated[int, Field(ge=1, le=64)] | None = None
    """Ranks a machine; absent is one a GPU, or one."""
    micro_batch_rows: Annotated[int, Field(ge=1, le=4096)] = 1
    """Packed rows a rank computes at a time."""
    gradient_checkpointing: bool = False
    """Keep only what enters each layer and compute the rest again on the way back: a third more work, a fraction of the memory."""


class TrainStage(Part):
    """Recipe of one training stage."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """Peak learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning-rate schedule after warm-up."""
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the updates that warm up."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """AdamW weight decay."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest global gradient norm."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    """Passes over the data."""
    max_length: Annotated[int, Field(ge=16, le=1048576)] = 4096
    """Length of a packed row, in tokens."""
    batch_tokens: Annotated[int, Field(ge=16, le=10**9)] = 8192
    """Tokens an update, over all ranks; a multiple of maxLength."""
    checkpoint_every: Duration = 300
    """Seconds between checkpoints; one is always written when asked to stop."""
    resources: Resources = Resources()
    """What it runs on."""
    pod_template: dict[str, Any] | None = None
    """Overrides merged into the pod (cluster)."""

    @field_validator("pod_template")
    @classmethod
    def _can_be_merged(cls, template: dict[str, Any] | None) -> dict[str, Any] | None:
        check_template(template or {})
        return template

    @model_validator(mode="after")
    def _whole_rows(self) -> "TrainStage":
        if self.batch_tokens % self.max_length:
            raise ValueError(f"batchTokens {self.batch_tokens} is not a multiple of maxLength {self.max_length}; an update is whole rows")
        return self


class DeepSpeedSettings(Part):
    """What is passed to DeepSpeed; memory layout only, results stay the same."""

    zero_stage: Annotated[int, Field(ge=0, le=2)] = 2
    """ZeRO stage: 0 replicates, 1 shards optimizer states, 2 also gradients."""
    offload_optimizer: bool = False
    """Keep optimizer states in host memory (GPU clusters)."""


class Training(Part):
    """Method and recipes."""

    method: Literal["lora", "full"] = "lora"
    """lora trains adapters, and a fine-tuning continues the midtraining's; full trains all weights."""
    lora: Lora | None = None
    """Adapter settings; absent with method lora is rank 64, alpha 128."""
    midtrain: TrainStage = TrainStage()
    """Next-token prediction on documents."""
    finetune: TrainStage = TrainStage()
    """Chats, loss on assistant tokens only."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the forward and backward pass; master weights are float32 always. auto is resolved once a run and recorded."""
    deepspeed: DeepSpeedSettings = DeepSpeedSettings()
    """Memory layout."""

    @model_validator(mode="after")
    def _one_method(self) -> "Training":
        if self.method == "full" and self.lora is not None:
            raise ValueError("lora is set but method is full; remove lora, or set method: lora")
        return self

    @property
    def adapter(self) -> Lora | None:
        """The adapter settings in force, or None for full fine-tuning."""
        return None if self.method == "full" else self.lora or Lora()
