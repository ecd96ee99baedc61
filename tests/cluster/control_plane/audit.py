"""What was written to the API server, by whom: read from its audit log.

How a test proves that an idle operator writes nothing, or that two replicas never wrote at the same time. Invariant: a line is written
before the request's answer is sent, so what a test saw answered is there. Cost: linear in the log.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Write:
    """One write that the API server answered."""

    at: datetime
    user: str
    agent: str
    verb: str
    resource: str
    """Group, plural and subresource, such as modelspec.dev/msmruns/status."""
    namespace: str
    name: str
    code: int


def writes(log: Path, user: str = "", since: datetime | None = None) -> Iterator[Write]:
    """Writes in the order of the log; of one user or agent (a part of its name is enough), from a moment on."""
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            write = _write(json.loads(line))
            if user in f"{write.user} {write.agent}" and (since is None or write.at >= since):
                yield write


def _write(event: dict[str, dict[str, str]]) -> Write:
    about, status = event.get("objectRef", {}), event.get("responseStatus", {})
    resource = "/".join(filter(None, (about.get("apiGroup"), about.get("resource"), about.get("subresource"))))
    return Write(
        at=datetime.fromisoformat(str(event["requestReceivedTimestamp"])),
        user=event["user"]["username"],
        agent=str(event.get("userAgent", "")),
        verb=str(event["verb"]),
        resource=resource,
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        code=int(status.get("code", 0)),
    )
