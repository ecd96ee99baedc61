"""A resource as it is shown, with what the store knows beside it.

Pure. Neighbours: `remote` reads both, `view` is what comes out. Invariant: counts, percentage and remaining time are the resource's own, so
that everybody sees the same numbers; stages are the store's where it could be read, else the unfinished ones of the status.
"""

from collections.abc import Mapping
from typing import Any

from msm.cli.view import RunView
from msm.cluster.objects import RunObject, Standing
from msm.local.status import RunStatus, StageStatus, State

STANDSTILL = {
    Standing.NEW: "the operator has not seen it yet",
    Standing.RESOLVING: "its inputs are being resolved",
    Standing.SUSPENDED: "`msm resume` continues",
}
TELLING = (Standing.RESOLVING, Standing.REFUSED, Standing.FAILED)
"""Standings of which the user must know the reason."""


def cluster_view(run: RunObject, kept: RunStatus | None, notes: tuple[str, ...] = ()) -> RunView:
    """What is shown of a run in a cluster."""
    status, standing = run.status, run.standing
    plan, progress = status.get("plan") or {}, status.get("progress") or {}
    why = (run.why,) if standing in TELLING and run.why else ()
    stages = kept.stages if kept is not None else tuple(map(_stage, run.rows))
    return RunView(
        title=run.record or run.name,
        phase="Deleting" if run.is_deleting else standing.value,
        percentage=float(progress.get("percentage", 0)),
        done=int(plan.get("done", 0)),
        total=int(plan.get("total", 0)),
        stages=stages,
        remaining=progress.get("estimatedRemainingSeconds"),
        is_at_work=standing is Standing.RUNNING,
        standstill=STANDSTILL.get(standing, ""),
        notes=(*why, *run.troubles, *notes),
    )


def _stage(row: Mapping[str, Any]) -> StageStatus:
    """A stage as far as the resource's status tells it."""
    words = [str(row[key]) for key in ("reason", "message") if row.get(key)]
    return StageStatus(
        name=str(row.get("name", "")),
        kind=str(row.get("kind", "")),
        fingerprint=str(row.get("fingerprint", "")),
        state=_state(str(row.get("state", ""))),
        percentage=float(row.get("percentage") or 0),
        step=int(row.get("step") or 0),
        attempts=int(row.get("attempts") or 0),
        message=": ".join(words),
    )


def _state(word: str) -> State:
    """A state by its word; one that another version of the operator has is not known here."""
    return State(word) if word in set(State) else State.PENDING


def cluster_document(run: RunObject, view: RunView, context: str) -> dict[str, Any]:
    """The view as JSON, with the keys that `msm status --json` has on a laptop, and those that only a cluster has."""
    return {
        "uid": run.record,
        "run": run.name,
        "phase": view.phase,
        "stages": [stage.model_dump(mode="json", by_alias=True) for stage in view.stages],
        "message": run.why,
        "notes": list(view.notes),
        "percentage": view.percentage,
        "estimatedRemainingSeconds": view.remaining,
        "atWork": view.is_at_work,
        "done": view.done,
        "total": view.total,
        "namespace": run.namespace,
        "context": context,
        "conditions": list(run.status.get("conditions") or ()),
    }
