"""Requests for MSMRuns: find, apply, suspend, delete.

Over `connection`, with `refusals` for what the server says no to. Invariant: a write names what it is for: the field manager `msm`, and the
uid of the run that was looked at, so that a run that was replaced in between is not touched. Cost: one request each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msm.api.run import API_VERSION
from msm.cluster.connection import APPLY_PATCH, JSON, MERGE_PATCH, Answer, Requests
from msm.cluster.objects import RunObject
from msm.cluster.refusals import error_of, submission_error
from msm.errors import TryAgain, UserError

MANAGER = "msm"
CREATED, NOT_FOUND, REFUSED = 201, 404, 400


@dataclass(frozen=True, slots=True)
class Applied:
    """A run after it was applied; `result` is created, changed or unchanged."""

    run: RunObject
    result: str
    warnings: tuple[str, ...]


def path(namespace: str, name: str = "") -> str:
    """Where a namespace's runs are at the API server, or one of them."""
    return f"/apis/{API_VERSION}/namespaces/{namespace}/msmruns" + (f"/{name}" if name else "")


def list_runs(requests: Requests) -> list[RunObject]:
    """The runs of the namespace, by name."""
    answer = requests.send("GET", path(requests.place.namespace))
    found = [RunObject(item) for item in _document(requests, answer).get("items") or ()]
    return sorted(found, key=lambda run: run.name)


def find_run(requests: Requests, name: str) -> RunObject | None:
    """The run of that name, or None."""
    answer = requests.send("GET", path(requests.place.namespace, name))
    if answer.status == NOT_FOUND and (answer.document().get("details") or {}).get("name"):
        return None
    return RunObject(_document(requests, answer))


def get_run(requests: Requests, name: str) -> RunObject:
    """The run of that name, or the one that the store knows by it.

    Raises:
        UserError: there is none; says which there are.
    """
    found = find_run(requests, name)
    if found is not None:
        return found
    runs = list_runs(requests)
    recorded = next((run for run in runs if run.record == name), None)
    if recorded is not None:
        return recorded
    place = requests.place
    has = ", ".join(run.name for run in runs) or "none"
    problem = f'"{name}" is no run in namespace {place.namespace} of {place.context}, which has: {has}'
    raise UserError("run", problem, "name one of these, or another --namespace or --context")


def apply_run(requests: Requests, body: Mapping[str, Any], dry_run: bool = False) -> Applied:
    """Make a run be as its file says: server-side apply under strict field validation.

    Raises:
        UserError: the server refuses it, or there is another run of that name; TryAgain: it does not answer, or that one is on its way out.
    """
    name = str(body["metadata"]["name"])
    before = find_run(requests, name)
    if before is not None and before.is_deleting:
        raise TryAgain(f'run "{name}" is being deleted in namespace {before.namespace}; submit again when it is gone')
    query = {"fieldManager": MANAGER, "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
    answer = requests.send("PATCH", path(requests.place.namespace, name), query=query, body=body, content=APPLY_PATCH)
    if answer.status >= REFUSED:
        raise submission_error(answer, requests.place, name)
    after = RunObject(answer.document())
    result = "created" if answer.status == CREATED else "unchanged" if _is_same(before, after) else "changed"
    return Applied(after, result, answer.warnings)


def _is_same(before: RunObject | None, after: RunObject) -> bool:
    """Whether applying changed nothing; a dry run keeps the version, so what is wanted is compared as well."""
    return before is not None and before.version == after.version and before.wanted == after.wanted


def set_suspend(requests: Requests, run: RunObject, suspend: bool) -> RunObject:
    """Ask a run to stop after checkpointing, or to go on."""
    body = {"metadata": {"uid": run.uid}, "spec": {"suspend": suspend}}
    answer = requests.send("PATCH", path(run.namespace, run.name), query={"fieldManager": MANAGER}, body=body, content=MERGE_PATCH)
    return RunObject(_document(requests, answer))


def delete_run(requests: Requests, run: RunObject, foreground: bool) -> None:
    """Delete a run; `foreground` keeps it until all that it owns is gone. One that is gone already is no error."""
    body = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": run.uid},
        "propagationPolicy": "Foreground" if foreground else "Background",
    }
    answer = requests.send("DELETE", path(run.namespace, run.name), body=body, content=JSON)
    if answer.status != NOT_FOUND:
        _document(requests, answer)


def _document(requests: Requests, answer: Answer) -> dict[str, Any]:
    if answer.status >= REFUSED:
        raise error_of(answer, requests.place)
    return answer.document()
