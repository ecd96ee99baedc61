"""The API server's verbs on plain dicts: get, list by pages, watch, create, replace, patch, server-side apply, delete.

Above `connection`; used by `reflector` (reads), `writer`, `leader` and `events` (writes). Invariant: one call is one request (a list: one
a page); only aiohttp repeats a GET, PUT or DELETE once when its connection breaks. Nothing here asks whether we lead: `writer` does.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from msm_operator.runtime.connection import CONNECT_S, Connection
from msm_operator.runtime.errors import Unavailable, error_of_status
from msm_operator.runtime.resources import Resource
from msm_operator.runtime.seams import Key, Propagation

Object = dict[str, Any]
PAGE = 500
REQUEST_S = 30.0
SILENCE_S = 90.0
"""A server sends a bookmark about once a minute: longer silence means that nobody is there any more."""

_JSON = "application/json"
_AS_METADATA = "application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1"
PatchType = Literal["application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a kind: one namespace or all (""), by labels, by fields, whole or their metadata only."""

    resource: Resource
    namespace: str = ""
    labels: str = ""
    fields: str = ""
    metadata_only: bool = False

    def query(self, **more: str) -> dict[str, str]:
        """The parameters of a list or watch."""
        chosen = {"labelSelector": self.labels, "fieldSelector": self.fields, **more}
        return {name: value for name, value in chosen.items() if value}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `following` is empty on the last one."""

    items: list[Object]
    resource_version: str
    following: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK. An ERROR is raised instead."""

    type: str
    object: Object


class Api:
    """One identity's requests to one API server."""

    def __init__(
        self, connection: Connection, *, field_manager: str = "msm-operator", request_s: float = REQUEST_S, silence_s: float = SILENCE_S
    ) -> None:
        self._connection, self._manager = connection, field_manager
        self._limit, self._silence = request_s, silence_s

    async def get(self, resource: Resource, key: Key) -> Object:
        """The object as the server has it now; `NotFound`."""
        return await self._ask("GET", resource.path(key.namespace, key.name))

    async def page(self, chosen: Selection, *, following: str = "", at_least: str = "", limit: int = PAGE) -> Page:
        """One page of a list; `Gone` when the token `following` has expired.

        Without `at_least` the list is the newest there is; with it, the server may answer from memory once it is that far.
        """
        query = chosen.query(limit=str(limit), **{"continue": following})
        if at_least and not following:
            query |= {"resourceVersion": at_least, "resourceVersionMatch": "NotOlderThan"}
        answer = await self._ask("GET", chosen.resource.path(chosen.namespace), query=query, accept=_accept(chosen, "List"))
        meta = answer.get("metadata") or {}
        items = answer.get("items") or []
        for item in items:
            item.setdefault("apiVersion", chosen.resource.api_version)
            item.setdefault("kind", chosen.resource.kind)
        return Page(items, str(meta.get("resourceVersion", "")), str(meta.get("continue") or ""))

    @asynccontextmanager
    async def watch(self, chosen: Selection, resource_version: str, *, seconds: int) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """What happens after `resource_version`, until the server ends it (after about `seconds`) or it fails.

        `Gone` when that version is too old, whether the server says so at once or within the stream.
        """
        query = chosen.query(watch="1", allowWatchBookmarks="true", resourceVersion=resource_version, timeoutSeconds=str(seconds))
        headers = {"Accept": _accept(chosen, "")}
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=self._silence)
        path = chosen.resource.path(chosen.namespace)
        async with self._connection.send("GET", path, query=query, headers=headers, limits=limits) as answer:
            yield _events(answer, f"watch {path}")

    async def create(self, resource: Resource, body: Mapping[str, Any]) -> Object:
        """The object as created; `AlreadyExists`, `Invalid`."""
        namespace = body["metadata"].get("namespace", "")
        return await self._ask("POST", resource.path(namespace), query=self._writing(), body=body)

    async def replace(self, resource: Resource, body: Mapping[str, Any]) -> Object:
        """The object as stored; `Conflict` unless its metadata.resourceVersion is the server's."""
        meta = body["metadata"]
        return await self._ask("PUT", resource.path(meta.get("namespace", ""), meta["name"]), query=self._writing(), body=body)

    async def apply(self, resource: Resource, body: Mapping[str, Any], *, status: bool = False, force: bool = True) -> Object:
        """Server-side apply under our field manager; an unknown field is `Invalid`, one that another owns `Conflict` unless `force`."""
        meta = body["metadata"]
        path = resource.path(meta.get("namespace", ""), meta["name"], "status" if status else "")
        query = self._writing() | {"force": "true" if force else "false"}
        return await self._ask("PATCH", path, query=query, body=body, content_type="application/apply-patch+yaml")

    async def patch(self, resource: Resource, key: Key, change: Any, *, type: PatchType = "application/merge-patch+json") -> Object:
        """The object as patched; `Conflict` where the patch holds a resourceVersion or uid that is not the server's."""
        return await self._ask("PATCH", resource.path(key.namespace, key.name), query=self._writing(), body=change, content_type=type)

    async def delete(
        self, resource: Resource, key: Key, *, uid: str = "", resource_version: str = "", propagation: Propagation = "Background"
    ) -> None:
        """Ask for its deletion; `NotFound`, and `Conflict` where a precondition does not hold."""
        required = {name: value for name, value in (("uid", uid), ("resourceVersion", resource_version)) if value}
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if required:
            options["preconditions"] = required
        await self._ask("DELETE", resource.path(key.namespace, key.name), body=options)

    def _writing(self) -> dict[str, str]:
        return {"fieldManager": self._manager, "fieldValidation": "Strict"}

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> Object:
        headers = {"Accept": accept, "Content-Type": content_type}
        limits = aiohttp.ClientTimeout(total=self._limit, sock_connect=CONNECT_S)
        async with self._connection.send(method, path, query=query or {}, headers=headers, body=body, limits=limits) as answer:
            return _decoded(await answer.read(), f"{method} {path}")


async def _events(answer: aiohttp.ClientResponse, what: str) -> AsyncIterator[WatchEvent]:
    lines = _Lines()
    async for chunk in answer.content.iter_any():
        for line in lines.of(chunk):
            yield _event(line, what)


class _Lines:
    """Whole lines out of chunks that end anywhere; what follows the last line end is kept."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def of(self, chunk: bytes) -> Iterator[bytes]:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            joined, self._parts = b"".join([*self._parts, line]), []
            if joined.strip():
                yield joined
        self._parts += [rest] if rest else []


def _accept(chosen: Selection, suffix: str) -> str:
    return f"{_AS_METADATA.replace('{list}', suffix)},{_JSON}" if chosen.metadata_only else _JSON


def _event(line: bytes, what: str) -> WatchEvent:
    said = _decoded(line, what)
    type, told = said.get("type"), said.get("object")
    if not isinstance(told, dict) or type not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"):
        raise Unavailable(f"{what}: not an event: {line[:200]!r}", why="Malformed")
    if type == "ERROR":
        raise error_of_status(told, what)
    return WatchEvent(type, told)


def _decoded(body: bytes, what: str) -> Object:
    try:
        told = json.loads(body)
    except ValueError as error:
        raise Unavailable(f"{what}: the answer is not JSON: {body[:200]!r}", why="Malformed") from error
    if not isinstance(told, dict):
        raise Unavailable(f"{what}: the answer is no object: {body[:200]!r}", why="Malformed")
    return told
