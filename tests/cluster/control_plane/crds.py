"""Definitions: installed and waited for. Not `kubectl wait`: it fails at once on a definition that has no conditions yet."""

import time
from collections.abc import Sequence

from tests.cluster.control_plane.client import Api, Object

ESTABLISHED_SECONDS = 120.0


def install(api: Api, definitions: Sequence[Object]) -> None:
    """Apply definitions and return once each is served.

    Raises:
        TimeoutError: naming those that are not.
    """
    api.put(*definitions)
    waiting = {str(one["metadata"]["name"]) for one in definitions}
    deadline = time.monotonic() + ESTABLISHED_SECONDS
    while waiting := {name for name in waiting if not _is_established(api, name)}:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not established: {', '.join(sorted(waiting))}")
        time.sleep(0.1)


def _is_established(api: Api, name: str) -> bool:
    reply = api.request("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    conditions = (reply.body.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)
