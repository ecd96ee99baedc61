"""A run as the tracker is asked to show it, and what its status says of that.

Pure but for the tracker's memory. Neighbours: `msmrun` during a run, `finishing` after it. Invariant: an installation without MLflow says
nothing of it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msm.errors import UserError
from msm.local.status import RunStatus, State
from msm.tracking.config import TrackingConfig, tracking_config
from msm.tracking.snapshot import LiveStage
from msm_operator.backends.installation import Installation
from msm_operator.controllers.credentials import check_tracking
from msm_operator.controllers.documents import Documents
from msm_operator.controllers.tracking import Asked, Tracker
from msm_operator.status.conditions import Wanted, find
from msm_operator.status.reasons import ConditionType, Reason


def config_of(documents: Documents, installation: Installation) -> TrackingConfig | None:
    """Where a run is tracked; None where nobody says, or says it wrongly (see `tracking_condition`)."""
    try:
        return _config(documents, installation)
    except UserError:
        return None


def _config(documents: Documents, installation: Installation) -> TrackingConfig | None:
    check_tracking(documents.run, installation)
    said = documents.run.spec.tracking
    if (said is None or said.uri is None) and installation.tracking_uri is None:
        return None
    environ = {"MSM_TRACKING_URI": installation.tracking_uri} if installation.tracking_uri is not None else {}
    return tracking_config(documents.run, Path("/nowhere/state"), environ)


def asked_of(documents: Documents, kept: RunStatus, results: Mapping[str, Any] | None) -> Asked:
    """The request to show a run as it is."""
    live = {
        s.fingerprint: LiveStage(s.attempt, ({"step": s.step, **s.metrics, "time": kept.updated.timestamp()},))
        for s in kept.stages
        if s.state is State.RUNNING and s.attempt and "loss" in s.metrics
    }
    reused = frozenset(s.fingerprint for s in kept.stages if s.reused)
    done = frozenset(s.fingerprint for s in kept.stages if s.state is State.DONE)
    return Asked(documents, kept.phase.value, live, results, reused, done)


def tracking_condition(
    obj: Mapping[str, Any], documents: Documents, installation: Installation, config: TrackingConfig | None, tracker: Tracker
) -> Wanted | None:
    """What the status is to say of MLflow; what it said last while there is no news."""
    if config is None:
        return _wrong(documents, installation)
    return tracker.condition(documents.id) or _before(obj)


def _wrong(documents: Documents, installation: Installation) -> Wanted | None:
    try:
        _config(documents, installation)
    except UserError as error:
        return Wanted(ConditionType.TRACKING_AVAILABLE, "False", Reason.REFUSED, str(error))
    return None


def _before(obj: Mapping[str, Any]) -> Wanted | None:
    said = find(obj.get("status", {}), ConditionType.TRACKING_AVAILABLE)
    if said is None:
        return None
    return Wanted(ConditionType.TRACKING_AVAILABLE, said["status"], Reason(said["reason"]), said.get("message", ""))
