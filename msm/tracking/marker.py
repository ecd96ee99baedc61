"""What was projected last, kept with the run, so that a call that changed nothing need not even import MLflow.

`runs/<uid>/tracked.json` = {"digest", "uri"}; written after a projection of a complete run. Neighbours: `projector` and `sync` write it and
ask `is_current`. Invariant: only an optimisation; deleting it costs one projection that changes nothing.
"""

from msm.api.base import Part
from msm.store.objects import ObjectNotFound, ObjectStore
from msm.tracking.config import TrackingConfig


class Marker(Part):
    """The snapshot that MLflow shows."""

    digest: str
    """`snapshot.digest` of it."""
    uri: str
    """The MLflow that shows it."""


def marker_key(uid: str) -> str:
    """Where a run's marker lies."""
    return f"runs/{uid}/tracked.json"


def projected_marker(store: ObjectStore, uid: str) -> Marker | None:
    """What was projected last, or None; a marker that cannot be read counts as none."""
    try:
        return Marker.model_validate_json(store.get(marker_key(uid)))
    except (ObjectNotFound, ValueError):
        return None


def write_marker(store: ObjectStore, uid: str, digest: str, config: TrackingConfig) -> None:
    """Remember a complete projection."""
    store.put(marker_key(uid), Marker(digest=digest, uri=config.uri).model_dump_json().encode())


def is_current(store: ObjectStore, uid: str, digest: str, config: TrackingConfig) -> bool:
    """Whether MLflow shows this digest already; a sqlite file that somebody removed shows nothing."""
    if config.database is not None and not config.database.exists():
        return False
    return projected_marker(store, uid) == Marker(digest=digest, uri=config.uri)
