"""The API server's refusals in our words: whose move it is, and what to type.

Pure. Neighbours: `runs` and `pods` ask for a sentence when an answer is none. Invariant: every refusal becomes one MSMError of one line:
TryAgain where the same command may succeed later, UserError where somebody must do something first. Source of the texts: the API
conventions' Status object.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from msm.cluster.connection import Answer, Place
from msm.errors import MSMError, TryAgain, UserError

READING = frozenset({"get", "list", "watch"})
CHART = "install the chart: `helm install msm charts/msm -n msm-system --create-namespace`, or name another cluster with --context"
_FORBIDDEN = re.compile(r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]*)"')
_UNCHANGEABLE = re.compile(r"(\w+) cannot be changed")
_UNKNOWN_FIELD = re.compile(r'unknown field "([^"]+)"')
_UNTYPED = re.compile(r"failed to create typed patch object .*?\): (?:errors:\s*)?\.?(?P<field>[\w.\[\]]+): (?P<problem>[^\n]+)", re.S)
"""How server-side apply refuses an unknown field or a wrong type: with a 500."""
UNDECLARED = "field not declared in schema"
_VALUE = re.compile(r'^Invalid value: (?:(?:"[^"]{0,80}"|null|true|false|-?[0-9.]+): )?')
MUTABLE = frozenset({".spec.suspend", ".spec.ttlSecondsAfterFinished", ".spec.execution.parallelism"})
"""Fields of a run that may change."""
MANY_REQUESTS, SERVER_ERROR = 429, 500


@dataclass(frozen=True, slots=True)
class Cause:
    """One field that was refused."""

    field: str
    message: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A Status object, or what a proxy sent in its place."""

    status: int
    reason: str
    message: str
    kind: str
    name: str
    causes: tuple[Cause, ...]


def refusal_of(answer: Answer) -> Refusal:
    """The refusal in an answer with a status of 400 or more."""
    told = answer.document()
    details = told.get("details") or {}
    causes = tuple(Cause(*(str(c.get(key, "")) for key in ("field", "message", "reason"))) for c in details.get("causes") or ())
    message = str(told.get("message") or answer.body[:200].decode("utf-8", "replace")).strip()
    return Refusal(
        answer.status, str(told.get("reason") or ""), message, str(details.get("kind") or ""), str(details.get("name") or ""), causes
    )


def error_of(answer: Answer, place: Place) -> MSMError:
    """What any refusal means that no command knows more about."""
    refusal = refusal_of(answer)
    if (malformed := _malformed(refusal.message)) is not None:
        return malformed
    if refusal.status == MANY_REQUESTS or refusal.status >= SERVER_ERROR:
        return TryAgain(f"the cluster {place.context} cannot answer now ({refusal.status} {refusal.message})")
    match refusal.status:
        case 401:
            return UserError(
                f"context {place.context}", "the cluster does not know who you are: credentials are missing or expired", "log in again"
            )
        case 403:
            return _forbidden(refusal, place)
        case 404:
            return _not_found(refusal, place)
        case 409:
            return TryAgain(f"somebody changed it at the same moment ({refusal.message})")
        case 400 | 422:
            return _invalid(refusal)
    return UserError(f"cluster {place.context}", f"refuses: {refusal.message} ({refusal.status})", "ask its administrator")


def _malformed(message: str) -> UserError | None:
    """What is wrong with the form of an object, where a message says so; the status beside it may be anything."""
    untyped, unknown = _UNTYPED.search(message), _UNKNOWN_FIELD.search(message)
    if untyped is not None and untyped["problem"] != UNDECLARED:
        return UserError(untyped["field"], f"the cluster refuses it: {untyped['problem']}", "see docs/reference/msmrun.md")
    field = untyped["field"] if untyped is not None else unknown[1] if unknown is not None else None
    if field is None:
        return None
    return UserError(field, "unknown key for the cluster's version of MSMRun", "remove it, or upgrade the chart")


def _forbidden(refusal: Refusal, place: Place) -> UserError:
    told = _FORBIDDEN.search(refusal.message)
    if told is None:
        return UserError(f"cluster {place.context}", f"refuses: {refusal.message}", "ask its administrator")
    role = "view" if told["verb"] in READING else "edit"
    problem = f"{told['user']} may not {told['verb']} {told['resource']} in namespace {place.namespace}"
    return UserError(f"cluster {place.context}", problem, f'ask its administrator for the role "{role}" in that namespace')


def _not_found(refusal: Refusal, place: Place) -> UserError:
    if refusal.kind == "namespaces":
        return UserError("--namespace", f'{place.context} has no namespace "{refusal.name}"', "name one that it has")
    if not refusal.name:
        return UserError(f"cluster {place.context}", "has no MSMRun: the platform is not installed there", CHART)
    return UserError(f"cluster {place.context}", f'has no {refusal.kind} "{refusal.name}" in namespace {place.namespace}', "check the name")


def _invalid(refusal: Refusal) -> UserError:
    if not refusal.causes:
        return UserError("run", f"the cluster refuses it: {refusal.message}", "mend it")
    first = refusal.causes[0]
    more = f" (and {len(refusal.causes) - 1} more)" if len(refusal.causes) > 1 else ""
    return UserError(first.field or "run", f"{_VALUE.sub('', first.message)}{more}", "")


def submission_error(answer: Answer, place: Place, name: str) -> MSMError:
    """What a refusal of an applied run means: mostly that there is another one of that name."""
    refusal = refusal_of(answer)
    if refusal.status == 409 and any(cause.reason == "FieldManagerConflict" for cause in refusal.causes):
        return _owned(refusal.causes, name)
    changed = [found for cause in refusal.causes for found in _UNCHANGEABLE.findall(cause.message)]
    if refusal.status == 422 and changed:
        return _another_run(name, dict.fromkeys(changed))
    return error_of(answer, place)


def _another_run(name: str, fields: Iterable[str]) -> UserError:
    problem = f'there is a run "{name}" with another spec ({", ".join(fields)}), and a spec cannot be changed'
    return UserError("metadata.name", problem, f"give this one another name, or delete that one: `msm cancel {name}`; finished stages stay")


def _owned(causes: Iterable[Cause], name: str) -> UserError:
    fields = {cause.field: cause.message.partition('"')[2].partition('"')[0] for cause in causes}
    if not set(fields) <= MUTABLE:
        return _another_run(name, (field.removeprefix(".spec.") for field in fields))
    field, manager = next(iter(fields.items()))
    fix = f"remove it from the file; `msm suspend {name}` and `msm resume {name}` change it" if field == ".spec.suspend" else "remove it"
    return UserError(field.removeprefix("."), f'was set by "{manager}" to another value than the file has', fix)
