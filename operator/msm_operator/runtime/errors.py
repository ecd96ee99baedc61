"""What an API server's refusals and silences are called here; everything of HTTP ends at `error_of`.

Raised by `connection`, `api` and `leader`; read by `controller` (what to wait for) and by controllers. Invariant: nothing above
`connection` ever sees an aiohttp or kubernetes exception. One line each, with the server's own words.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msm.errors import MSMError


@dataclass(frozen=True, slots=True)
class Cause:
    """One field that the server refused; `field` is its path (`spec.arms[0].name`)."""

    field: str
    message: str
    reason: str = ""


class ApiError(MSMError):
    """A request that had no success; `status` is the HTTP status, 0 where there was no answer."""

    def __init__(
        self, message: str, *, status: int = 0, why: str = "", causes: tuple[Cause, ...] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.why, self.causes = status, why, causes
        self.retry_after = retry_after
        """Seconds that the server asked to wait; None where it did not."""


class NotFound(ApiError):
    """The object is absent, or the kind is not served here."""


class Conflict(ApiError):
    """Somebody wrote in between, a precondition (uid, resourceVersion) does not hold, or another manager owns a field."""


class AlreadyExists(Conflict):
    """A create of something that is there."""


class Gone(ApiError):
    """The resource version or the continue token is too old (or ahead of this server): list again."""


class Invalid(ApiError):
    """The server understood and refuses; `causes` name the fields. Repeating it does not help."""


class Forbidden(ApiError):
    """No permission, no or an expired identity, a quota or an admission policy."""


class TooManyRequests(ApiError):
    """Told to slow down (priority and fairness, or an eviction that a disruption budget holds up)."""


class Unavailable(ApiError):
    """No answer in time, a broken connection, or a server that says it cannot now; whether a write happened is unknown."""


class NotLeading(ApiError):
    """The lease is not (or no longer) ours: nothing was sent."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: Invalid, 401: Forbidden, 403: Forbidden, 404: NotFound, 405: Invalid, 406: Invalid, 409: Conflict, 410: Gone, 413: Invalid,
    415: Invalid, 422: Invalid, 429: TooManyRequests,
}  # fmt: skip


def error_of(status: int, body: bytes, retry_after: str | None, what: str) -> ApiError:
    """The error that an answer with `status` ≥ 400 means; `body` is a Status object or whatever a proxy sent instead."""
    told = _status_object(body)
    return error_of_status(told, what, status=status, retry_after=_seconds(retry_after))


def error_of_status(told: Mapping[str, Any], what: str, *, status: int = 0, retry_after: float | None = None) -> ApiError:
    """The error that a Status object (an answer's, or that of an ERROR event in a watch) means."""
    details = told.get("details") or {}
    code = status or int(told.get("code") or 500)
    why = str(told.get("reason") or "")
    causes = tuple(Cause(str(c.get("field", "")), str(c.get("message", "")), str(c.get("reason", ""))) for c in details.get("causes") or ())
    wait = retry_after if retry_after is not None else _seconds(details.get("retryAfterSeconds"))
    message = f"{what}: {code} {why or 'without a reason'}: {str(told.get('message') or '')[:2000]}"
    return _kind(code, why, causes, str(told.get("message") or ""))(message, status=code, why=why, causes=causes, retry_after=wait)


def _kind(code: int, why: str, causes: tuple[Cause, ...], message: str) -> type[ApiError]:
    if why in ("Expired", "Gone") or any(cause.reason == "ResourceVersionTooLarge" for cause in causes):
        return Gone
    if why == "AlreadyExists":
        return AlreadyExists
    if code == 500 and "failed to create typed patch object" in message:
        return Invalid  # how a field that no built-in kind has is refused in a server-side apply (1.36)
    if code == 422 and {cause.field for cause in causes} == {"metadata.uid"}:
        return Conflict  # how an apply is refused whose uid is not the object's
    return _BY_STATUS.get(code, Unavailable if code >= 500 else Invalid)


def _status_object(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    return told if isinstance(told, dict) else {"message": body[:200].decode("utf-8", "replace")}


def _seconds(text: object) -> float | None:
    try:
        return max(0.0, float(str(text))) if text not in (None, "") else None
    except ValueError:
        return None
