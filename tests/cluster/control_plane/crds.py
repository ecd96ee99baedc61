"""Definitions: installed and waited for.

Created or replaced, not applied: server-side apply of KServe's definitions onto themselves takes the API server more than a minute.
Waited for by asking: `kubectl wait` fails at once on a definition that has no conditions yet.
"""

import time
from collections.abc import Iterator, Sequence

from tests.cluster.control_plane.client import Api, Object, Refused

COLLECTION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVED_SECONDS = 180.0


def install(api: Api, definitions: Sequence[Object]) -> None:
    """Make definitions be as given and return once each is served.

    Raises:
        Refused: the API server did not take one.
        TimeoutError: naming those that are not served.
    """
    for definition in definitions:
        _install(api, definition)
    waiting = [(f"/apis/{one['spec']['group']}/{version['name']}", one["spec"]["names"]["plural"]) for one, version in _served(definitions)]
    deadline = time.monotonic() + SERVED_SECONDS
    while waiting := [place for place in waiting if not _is_served(api, *place)]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not served: {', '.join(plural for _, plural in waiting)}")
        time.sleep(0.1)


def _served(definitions: Sequence[Object]) -> Iterator[tuple[Object, Object]]:
    return ((one, version) for one in definitions for version in one["spec"]["versions"] if version["served"])


def _install(api: Api, definition: Object) -> None:
    path = f"{COLLECTION}/{definition['metadata']['name']}"
    reply = api.request("POST", COLLECTION, definition)
    if reply.status == 409:
        version = api.request("GET", path).body["metadata"]["resourceVersion"]
        metadata = {**definition["metadata"], "resourceVersion": version}
        reply = api.request("PUT", path, {**definition, "metadata": metadata})
    if reply.status not in (200, 201):
        raise Refused(f"{definition['metadata']['name']}: {reply.status} {reply.message}")


def _is_served(api: Api, root: str, plural: str) -> bool:
    """Whether discovery has it; the definition itself, with its conditions, may be megabytes to read."""
    return any(one["name"] == plural for one in api.request("GET", root).body.get("resources", ()))
