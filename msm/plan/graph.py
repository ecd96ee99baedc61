"""The plan: stages in an order that respects their inputs, and which stage is which arm's model.

Frozen, written once to `runs/<uid>/plan.json`. Neighbours: `planner` makes it, executors follow it. Invariant: every input of a stage
stands before it; a fingerprint stands once. Names, resources and locations are carried here but are in no fingerprint.
"""

from typing import Any, Self

from pydantic import JsonValue, SerializerFunctionWrapHandler, model_serializer, model_validator

from msm.api.base import Part
from msm.plan.fingerprint import digest
from msm.plan.resolution import Resolution


class StageRef(Part):
    """A stage, by what it is."""

    kind: str
    """Stage kind."""
    fingerprint: str
    """SHA-256 in hex."""


class Stage(Part):
    """One unit of work and of re-use."""

    name: str
    """For people: kind and what it is for."""
    kind: str
    """Stage kind."""
    version: int
    """Kind version; a stage program refuses one it does not have."""
    fingerprint: str
    """SHA-256 in hex."""
    params: dict[str, JsonValue]
    """What can change the result."""
    inputs: dict[str, tuple[StageRef, ...]]
    """Artifacts it reads, by role."""
    blobs: tuple[str, ...] = ()
    """SHA-256 of the blobs it reads; each also stands in params."""
    execution: dict[str, JsonValue] = {}
    """What cannot change the result: ranks, micro-batch, memory layout, locations."""

    @property
    def ref(self) -> StageRef:
        """The stage by kind and fingerprint."""
        return StageRef(kind=self.kind, fingerprint=self.fingerprint)

    @property
    def needs(self) -> tuple[StageRef, ...]:
        """All inputs, over roles."""
        return tuple(ref for role in sorted(self.inputs) for ref in self.inputs[role])


class ArmModel(Part):
    """The model that an arm ends with for a seed: a training stage, or the base model itself."""

    arm: str
    """Name of the arm."""
    seed: int
    """Training seed."""
    model: StageRef
    """finetune, midtrain or (untrained arm) fetch."""
    parent: StageRef | None = None
    """The midtraining it was fine-tuned from."""


class Plan(Part):
    """The frozen graph of one run."""

    run: str
    """Name of the run."""
    resolution: Resolution
    """What its inputs turned out to be."""
    stages: tuple[Stage, ...]
    """In an order that respects inputs."""
    models: tuple[ArmModel, ...]
    """One per arm and seed."""
    evaluations: dict[str, tuple[tuple[int, StageRef], ...]]
    """Eval -> (seed, evaluate stage)."""
    targets: tuple[StageRef, ...] = ()
    """Further stages that are wanted for themselves: data of a plan that trains nothing. Without any, its JSON does not have the field."""

    @model_serializer(mode="wrap")
    def _without_empty_targets(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if name != "targets" or value}

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        seen: set[str] = set()
        for stage in self.stages:
            absent = [ref.kind for ref in stage.needs if ref.fingerprint not in seen]
            if absent or stage.fingerprint in seen:
                raise ValueError(f"stage {stage.name} stands before its input {absent}" if absent else f"stage {stage.name} stands twice")
            seen.add(stage.fingerprint)
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the whole plan."""
        return digest(self.model_dump(mode="json", by_alias=True))

    def stage(self, ref: StageRef) -> Stage:
        """The stage behind a reference; KeyError when the plan has none."""
        for stage in self.stages:
            if stage.fingerprint == ref.fingerprint:
                return stage
        raise KeyError(ref.fingerprint)
