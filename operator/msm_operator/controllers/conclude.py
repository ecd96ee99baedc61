"""The results and the report of a run whose every stage is committed, kept with the run as the local executor keeps them.

Blocking, for a thread. Neighbours: `msm.results` computes from artifacts; it is imported, with numpy and scipy, when the first run ends.
Invariant: results are written before the run is said to have succeeded; a report that cannot be made is a note, since the results are kept.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msm.local.status import RunStatus
from msm.results.rows import Results
from msm_operator.controllers.documents import Documents
from msm_operator.status.conditions import shortened

if TYPE_CHECKING:
    from msm.results.survey import Survey

SHOWN_EFFECTS = 16
SENTENCE = 1000


def conclude(documents: Documents, status: RunStatus, cache: Path) -> tuple[Results, str]:
    """Compute and keep results and report; what should be known of it, mostly nothing.

    Raises:
        TryAgain: the store does not answer; IntegrityError: an artifact is damaged.
    """
    from msm.results.findings import results_of
    from msm.results.survey import survey

    seen = survey(documents.run, documents.plan, documents.store, cache)
    results = results_of(seen, status.rows)
    documents.store.put(f"runs/{documents.id}/results.json", results.model_dump_json(by_alias=True, indent=1).encode())
    return results, _report(documents, seen, status)


def _report(documents: Documents, seen: "Survey", status: RunStatus) -> str:
    from msm.results.compose import compose
    from msm.results.publish import files_of, keep_report

    try:
        report = compose(seen, documents.id, status.phase.value, status.rows)
        keep_report(documents.store, documents.id, report, files_of(report))
    except Exception as error:  # the results are kept, and whatever broke, `msm report` says it again
        return f"no report was written ({type(error).__name__}: {error}); `msm report {documents.id}` tries again"
    return ""


def brief(results: Results, id_: str) -> dict[str, Any]:
    """What of the results stands in the resource's status; the whole is in the store."""
    effects = [
        {"metric": e.metric, "arm": e.arm, "versus": e.versus, "estimate": _round(e.estimate), "low": _round(e.low), "high": _round(e.high)}
        for e in results.effects[:SHOWN_EFFECTS]
    ]
    found: dict[str, Any] = {"record": f"runs/{id_}/results.json"}
    if results.sentence:
        found["sentence"] = shortened(results.sentence, SENTENCE)
    return found | ({"effects": effects} if effects else {})


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def kept_brief(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a status says of results already."""
    found = status.get("results")
    return found if isinstance(found, Mapping) else None
