"""MSMRun, the resource: what is compared, on which data, judged how, kept where.

Neighbours: `inputs`, `data`, `training` hold its parts, `references` checks that names resolve, `load` reads it from a file.
Invariant: a parsed MSMRun has every cross reference satisfied and at most 500 stages to plan.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from msm.api.base import Duration, Name, Part
from msm.api.data import Corpus, Demonstration
from msm.api.inputs import BaseModelRef, Endpoint, KeyRef, ModelSpec, Source
from msm.api.pods import check_volume
from msm.api.references import Missing, missing_references
from msm.api.training import Training

API_VERSION = "modelspec.dev/v1alpha1"
KIND = "MSMRun"


class Arm(Part):
    """One thing that is compared: a sequence of training data. Stages that two arms share run once."""

    name: Name
    """Name of the arm."""
    midtrain: Annotated[tuple[Name, ...], Field(max_length=32)] = ()
    """Corpora, trained on together; empty skips midtraining."""
    finetune: Annotated[tuple[Name, ...], Field(max_length=32)] = ()
    """Demonstrations, mixed in one fine-tuning; empty skips it."""
    versus: Annotated[tuple[Name, ...], Field(max_length=8)] = ()
    """Arms that it is compared with; the conclusion speaks of the first. Empty is the arm that differs by the midtraining alone."""

    @model_validator(mode="after")
    def _compared_with_others(self) -> "Arm":
        if self.name in self.versus:
            raise ValueError(f'versus names the arm itself, "{self.name}"; name other arms')
        return self


class Items(Part):
    """The questions of an eval."""

    source: Source
    """JSON Lines; the format is described in the guide."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Use this many, spread evenly over value, set and domain."""


class Measurement(Part):
    """One eval of one model."""

    name: Name
    """First part of its metrics' names."""
    suite: Literal["preference", "agentic-misalignment"] = "preference"
    """preference: exact log-probability margin between two options; agentic-misalignment: judged scenarios (cluster or endpoint)."""
    items: Items | None = None
    """The questions; needed by preference."""
    judge: Name | None = None
    """Endpoint that judges; needed by agentic-misalignment."""
    repeats: Annotated[int, Field(ge=1, le=1000)] = 25
    """Samples a scenario (agentic-misalignment)."""
    generate: Annotated[int, Field(ge=0)] | None = None
    """Items that are also answered greedily; absent is all of them."""

    @model_validator(mode="after")
    def _needs(self) -> Self:
        if self.suite == "preference" and self.items is None:
            raise ValueError("items is missing; the preference suite asks about items")
        if self.suite == "agentic-misalignment" and self.judge is None:
            raise ValueError("judge is missing; the agentic-misalignment suite is judged by an endpoint")
        return self


class Eval(Measurement):
    """A measurement of every arm."""

    via: Literal["inProcess", "endpoint"] = "inProcess"
    """Where the arms are run: in the evaluating process, or served."""


class Gate(Part):
    """A condition on a recorded effect that promotion checks."""

    metric: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """Metric, such as values.america."""
    compare_to: Name
    """Arm that the candidate is compared with."""
    min_effect: float
    """Least effect, in the metric's unit."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """The effect's interval at this confidence must lie above zero."""


class Registry(Part):
    """Where trained versions are registered."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^/:@]+$")]
    """Registered model's name in MLflow."""
    candidate: Name | None = None
    """Arm whose first listed seed gets the alias `candidate`."""
    gates: Annotated[tuple[Gate, ...], Field(max_length=32)] = ()
    """What `msm promote` checks."""


class Storage(Part):
    """Where artifacts lie; absent is the installation's default, locally the directory .msm/store."""

    uri: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """file:///path or s3://bucket/prefix."""
    endpoint: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """S3 server, such as http://minio:9000."""
    region: Annotated[str, StringConstraints(max_length=100)] | None = None
    """S3 region."""
    ca_secret_ref: KeyRef | None = None
    """Secret with the server's CA certificate; locally the environment variable MSM_STORE_CA_FILE names a file."""
    secret_ref: KeyRef | None = None
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; locally the environment is used."""


class Tracking(Part):
    """The MLflow server; absent is the installation's default, locally a sqlite file in .msm."""

    uri: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    """http(s) address of a tracking server, or sqlite:///file."""
    experiment: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    """Experiment; absent is the run's name."""
    secret_ref: KeyRef | None = None
    """Secret with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."""


class Retries(Part):
    """How often a stage may fail by no fault of the user."""

    limit: Annotated[int, Field(ge=0, le=100)] = 3
    """Faults a stage; preemptions and the user's mistakes do not count."""


class Execution(Part):
    """How the run is scheduled; never changes a result."""

    parallelism: Annotated[int, Field(ge=1, le=500)] = 1
    """Heavy stages at a time."""
    retries: Retries = Retries()
    """Retry policy."""
    deadline: Duration = 172800
    """Seconds after which a stage is given up."""
    queue_name: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Kueue LocalQueue (cluster)."""
    priority_class_name: Annotated[str, StringConstraints(max_length=253)] | None = None
    """PriorityClass of the pods (cluster)."""
    scratch: dict[str, Any] | None = None
    """Volume for scratch space (cluster)."""
    model_cache: dict[str, Any] | None = None
    """Volume that keeps downloaded models (cluster)."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """Whether the run's records go with the resource; shared artifacts never do."""

    @field_validator("scratch", "model_cache")
    @classmethod
    def _brings_no_token(cls, volume: dict[str, Any] | None) -> dict[str, Any] | None:
        check_volume(volume or {})
        return volume


class MSMRunSpec(Part):
    """What is wanted."""

    base_model: BaseModelRef
    """The pretrained model every arm starts from."""
    model_specs: Annotated[tuple[ModelSpec, ...], Field(max_length=32)] = ()
    """Model Specs."""
    endpoints: Annotated[tuple[Endpoint, ...], Field(max_length=32)] = ()
    """Language models that write or judge."""
    corpora: Annotated[tuple[Corpus, ...], Field(max_length=64)] = ()
    """Documents for midtraining."""
    demonstrations: Annotated[tuple[Demonstration, ...], Field(max_length=64)] = ()
    """Chats for fine-tuning."""
    training: Training = Training()
    """How training is done."""
    arms: Annotated[tuple[Arm, ...], Field(min_length=1, max_length=64)]
    """What is compared."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1, max_length=64)] = (0,)
    """Each trained arm is trained once a seed."""
    evals: Annotated[tuple[Eval, ...], Field(max_length=32)] = ()
    """What is measured."""
    registry: Registry | None = None
    """Where versions are registered; absent registers under the run's name."""
    storage: Storage | None = None
    """Where artifacts lie."""
    tracking: Tracking | None = None
    """Where metrics go."""
    execution: Execution = Execution()
    """How it is scheduled."""
    suspend: bool = False
    """Stop after checkpointing; false continues."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0)] | None = None
    """Delete the resource this long after it finished (cluster)."""

    def missing(self) -> list[Missing]:
        """References to names that this run does not define."""
        return missing_references(self)


class Metadata(Part):
    """Name and labels, as Kubernetes has them."""

    name: Name
    """Name of the run."""
    namespace: Name | None = None
    """Namespace (cluster)."""
    labels: dict[str, str] = {}
    """Labels."""
    annotations: dict[str, str] = {}
    """Annotations."""


class MSMRun(Part):
    """One experiment of Model Spec Midtraining."""

    api_version: Literal["modelspec.dev/v1alpha1"]
    """modelspec.dev/v1alpha1"""
    kind: Literal["MSMRun"]
    """MSMRun"""
    metadata: Metadata
    """Name and labels."""
    spec: MSMRunSpec
    """What is wanted."""
