"""What belongs to the report that is kept with a run: `runs/<uid>/report/index.json`, written after the files it names.

Neighbours: `msm.results.publish` writes it, `snapshot` carries it, `reports` shows its files in MLflow. Invariant: equal digests mean
equal files; a report that is half written has the index of the one before, or none.
"""

from msm.api.base import Record
from msm.plan.fingerprint import digest
from msm.store.objects import ObjectNotFound, ObjectStore

INDEX = "index.json"


class ReportIndex(Record):
    """The files of a report under `runs/<uid>/report/`."""

    files: dict[str, str]
    """Path -> SHA-256."""
    cards: dict[str, str]
    """Fingerprint of a trained stage -> path of its model card."""

    @property
    def digest(self) -> str:
        """SHA-256 of what it names."""
        return digest({"files": dict(self.files), "cards": dict(self.cards)})


def report_key(uid: str, path: str) -> str:
    """Where a file of a run's report lies."""
    return f"runs/{uid}/report/{path}"


def read_index(store: ObjectStore, uid: str) -> ReportIndex | None:
    """The index of a run's report, or None; one that cannot be read counts as none, for it is made anew by `msm report`."""
    try:
        return ReportIndex.model_validate_json(store.get(report_key(uid, INDEX)))
    except (ObjectNotFound, ValueError):
        return None
