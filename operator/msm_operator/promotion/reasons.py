"""Condition types and reasons of an EvalDeployment: API, each reason with a section in docs/guide/promotion.md.

Constants only. Neighbours: `decide` chooses one, `status` carries it. Invariant: a reason once published keeps its meaning.
"""

from enum import StrEnum


class ConditionType(StrEnum):
    """Types of conditions of an EvalDeployment."""

    READY = "Ready"
    """The stable address serves a version whose pods are ready."""
    PROMOTING = "Promoting"
    """A candidate is being tried."""
    TRACKING_AVAILABLE = "TrackingAvailable"
    """MLflow says what the alias names."""
    SERVING_AVAILABLE = "ServingAvailable"
    """KServe is installed."""
    STORE_AVAILABLE = "StoreAvailable"
    """The store answers."""


class Reason(StrEnum):
    """Why a condition has its status, or a version was refused."""

    # Ready
    SERVING = "Serving"
    """Pods of the version are ready behind the stable address."""
    NOTHING_SERVED = "NothingServed"
    """No version has passed yet."""
    PODS_NOT_READY = "PodsNotReady"
    """The version that is served has lost its pods; they are coming back."""
    INVALID_SPEC = "InvalidSpec"
    """The spec has a mistake; the message names the field. What is served stays."""
    NAME_TAKEN = "NameTaken"
    """There is a Service of this name that somebody else made."""
    # Promoting
    UP_TO_DATE = "UpToDate"
    """What the alias names is served."""
    STARTING = "Starting"
    """The candidate's pods are coming up."""
    CHECKING = "Checking"
    """The candidate is asked everyday questions."""
    EVALUATING = "Evaluating"
    """The candidate, or the version it is compared with, is being measured."""
    WAITING = "Waiting"
    """Something must happen first: a check is tried again after a pause, the last candidate's pods are going, MLflow must answer."""
    SWITCHING = "Switching"
    """The candidate has passed; the stable address is moved to it."""
    REFUSED = "Refused"
    """What the alias names was refused with this spec."""
    NO_ALIAS = "NoAlias"
    """The model has no such alias; what is served stays."""
    UNKNOWN = "Unknown"
    """Nobody knows yet what the alias names."""
    # availability
    REACHABLE = "Reachable"
    """It answers."""
    UNREACHABLE = "Unreachable"
    """It does not answer; asked again, nothing changes."""
    DENIED = "Denied"
    """It answers and refuses us: credentials, a policy, a place that this installation may not use."""
    DAMAGED = "Damaged"
    """What the store holds is not what was written."""
    NOT_CONFIGURED = "NotConfigured"
    """Neither the spec nor the installation names one."""
    NOT_INSTALLED = "NotInstalled"
    """The cluster has no such resource; looked for again every minute."""
    # why versions are refused
    GATE_FAILED = "GateFailed"
    """A gate does not hold; the message has the numbers."""
    NOT_READY = "NotReady"
    """Its pods were not ready in time."""
    SMOKE_FAILED = "SmokeFailed"
    """It does not answer everyday questions."""
    EVALUATION_FAILED = "EvaluationFailed"
    """A measurement was given up."""
    NOT_SERVABLE = "NotServable"
    """The version's weights are not in this store, or are not what can be served."""
