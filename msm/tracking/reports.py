"""The report and the model cards where people look at runs: artifacts of the parent run, descriptions of the versions.

Talks to MLflow. Neighbours: `project` calls it last; `index` names the files. Invariant: what the tag `msm.report` names is there already
and is not written again; a store of artifacts that refuses is a note, never a failure. Cost: one write a file and version when the report
changed.
"""

from collections.abc import Mapping

from msm.store.objects import ObjectStore
from msm.tracking.client import Client, one_line
from msm.tracking.desired import Tag
from msm.tracking.index import report_key
from msm.tracking.registry import registered_name
from msm.tracking.runs import Upserted
from msm.tracking.snapshot import Snapshot

FOLDER = "report"


def show_report(client: Client, snapshot: Snapshot, store: ObjectStore, parent: Upserted, versions: Mapping[str, str]) -> str:
    """Make MLflow show a run's report; returns what the user should know, mostly nothing. `versions` by fingerprint."""
    index = snapshot.report
    if index is None or parent.tags.get(Tag.REPORT) == index.digest:
        return ""
    texts = {path: store.get(report_key(snapshot.uid, path)).decode("utf-8") for path in sorted(index.files)}
    for fingerprint, path in index.cards.items():
        if fingerprint in versions:
            client.update_model_version(registered_name(snapshot), versions[fingerprint], description=texts[path])
    try:
        for path, text in texts.items():
            client.log_text(parent.run_id, text, f"{FOLDER}/{path}")
    except Exception as error:  # MLflow's artifact stores raise whatever their client libraries raise; the note says it
        return f"the report could not be stored as an artifact: {one_line(error)}"
    client.set_tag(parent.run_id, Tag.REPORT, index.digest)
    return ""
