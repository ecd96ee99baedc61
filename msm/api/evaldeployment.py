"""EvalDeployment, the resource: serve the version that an MLflow alias names, if it measures up.

Neighbours: `run` has the parts that both resources share; the operator's controller follows the alias and never moves it, `msm promote`
does. Invariant: a version that was refused stays refused, with the reason, until the spec changes; the one that is served stays until a
better one is ready.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from msm.api.base import Part, Record
from msm.api.inputs import Endpoint
from msm.api.run import Measurement, Metadata, Storage, Tracking
from msm.api.status import Condition, Count, Line, Word

KIND = "EvalDeployment"
Version = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=r"^[0-9]+$")]
Metric = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Serving(Part):
    """How a version is served: a KServe InferenceService."""

    runtime: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = None
    """ServingRuntime in this namespace, or ClusterServingRuntime; absent is the platform's vLLM."""
    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    """Pods."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 1
    """GPUs a pod (tensor parallel); 0 serves on the processor."""


class VersionGate(Part):
    """A condition on a new version: on its own score, on the difference to the version served now, or on both."""

    metric: Metric
    """Metric, such as values.america."""
    minimum: float | None = None
    """Least score, in the metric's unit."""
    min_effect: float | None = None
    """Least difference to the version served now, in the metric's unit; the first version has nothing to be compared with and passes."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """The difference must hold for the whole interval at this confidence."""

    @model_validator(mode="after")
    def _asks_something(self) -> "VersionGate":
        if self.minimum is None and self.min_effect is None:
            raise ValueError("set minimum, minEffect or both; this gate asks for nothing")
        return self


class EvalDeploymentSpec(Part):
    """What is wanted."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^/:@]+$")]
    """Registered model's name in MLflow."""
    alias: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_-]+$")] = "champion"
    """Alias that is followed."""
    serving: Serving = Serving()
    """How it is served."""
    endpoints: Annotated[tuple[Endpoint, ...], Field(max_length=8)] = ()
    """Language models that judge."""
    evals: Annotated[tuple[Measurement, ...], Field(max_length=32)] = ()
    """What is measured on a new version before it is served; each is asked through its endpoint."""
    gates: Annotated[tuple[VersionGate, ...], Field(max_length=32)] = ()
    """What the measurements must show."""
    storage: Storage | None = None
    """Where versions lie; absent is the installation's default."""
    tracking: Tracking | None = None
    """The MLflow server; absent is the installation's default."""

    @model_validator(mode="after")
    def _judges_exist(self) -> "EvalDeploymentSpec":
        known = {endpoint.name for endpoint in self.endpoints}
        for evaluation in self.evals:
            if evaluation.judge is not None and evaluation.judge not in known:
                has = ", ".join(sorted(known)) or "none"
                raise ValueError(f'eval "{evaluation.name}": no endpoint named "{evaluation.judge}"; there are: {has}')
        return self


class EvalDeployment(Part):
    """A stable address that serves what an MLflow alias names."""

    api_version: Literal["modelspec.dev/v1alpha1"]
    """modelspec.dev/v1alpha1"""
    kind: Literal["EvalDeployment"]
    """EvalDeployment"""
    metadata: Metadata
    """Name and labels."""
    spec: EvalDeploymentSpec
    """What is wanted."""


class Refused(Record):
    """A version that is not served."""

    version: Version
    """Version of the registered model."""
    reason: Word
    """Why, in a word: GateFailed, NotReady, SmokeFailed."""
    message: Line = ""
    """Why, for people: the gate, what was measured, what was asked for."""
    generation: Count | None = None
    """Generation of the spec that refused it; a changed spec tries it again."""


class Score(Record):
    """What was measured on the version that is served."""

    metric: Metric
    """Metric, such as values.america."""
    value: float
    """The score, in the metric's unit."""
    low: float | None = None
    """Lower end of its interval."""
    high: float | None = None
    """Upper end of its interval."""
    candidate: float | None = None
    """The candidate's score, while there is one."""


class EvalDeploymentStatus(Record):
    """What is observed; written by the operator."""

    observed_generation: Count | None = None
    """Generation of the spec that this status speaks of."""
    version: Version | None = None
    """Version that the stable address serves."""
    candidate_version: Version | None = None
    """Version that is being tried."""
    url: Line | None = None
    """The stable address, inside the cluster."""
    scores: Annotated[tuple[Score, ...], Field(max_length=128)] = ()
    """What was measured."""
    refused: Annotated[tuple[Refused, ...], Field(max_length=64)] = ()
    """Versions that are not served, the latest last."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=32)] = ()
    """The state in its aspects: Ready, CandidateReady, ServingAvailable, TrackingAvailable, StoreAvailable."""
