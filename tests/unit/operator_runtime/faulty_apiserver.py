"""A fault injector that speaks as much of the Kubernetes API as the operator's runtime asks: it is no API server and validates nothing.

Objects in memory, one counter of revisions, watches from a history that can be compacted, a queue of faults each of which meets the next
request that it matches. What a real server does is tested in tests/cluster; here is what a real one does too seldom to wait for.
"""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client.configuration import Configuration

from msm_operator.runtime.api import Api
from msm_operator.runtime.connection import Connection
from msm_operator.runtime.metrics import Metrics

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """Refuse with this status."""

    status: int
    reason: str = ""
    message: str = "as the test wants"
    retry_after: str = ""
    causes: tuple[tuple[str, str, str], ...] = ()
    """(field, message, reason)"""
    html: bool = False


@dataclass(frozen=True, slots=True)
class Hang:
    """Never answer; a write may or may not have happened."""

    after_doing: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection instead of answering; the write happened or did not."""

    after_doing: bool = False


@dataclass(frozen=True, slots=True)
class Disturb:
    """What a watch does besides telling the truth."""

    close_after: int | None = None
    """Break the connection in the middle of the line after so many events."""
    error_after: tuple[int, int] | None = None
    """(events, code): then an ERROR event."""
    twice: bool = False
    """Send each event twice."""
    stale: bool = False
    """After each event send the one before it again."""
    silent: bool = False
    """Say nothing at all, bookmarks included."""
    garbage_after: int | None = None


@dataclass(slots=True)
class Fault:
    """What happens to the next `times` requests of `method` whose path or query has `where` in it."""

    what: Answer | Hang | Drop | Disturb
    method: str = "GET"
    where: str = ""
    times: int = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(slots=True)
class FaultyApiServer:
    """The server's memory; tests change it directly, or through HTTP."""

    objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    history: list[tuple[int, str, str, Object]] = field(default_factory=list)
    revision: int = 100
    compacted: int = 0
    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    bookmark_s: float = 0.05
    absent: set[str] = field(default_factory=set)
    """Plurals that are not served."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    pages: dict[str, tuple[list[Object], int]] = field(default_factory=dict)
    streams: set[web.StreamResponse] = field(default_factory=set)
    url: str = ""
    _telling: "asyncio.Future[None] | None" = None

    def put(self, plural: str, obj: Object) -> Object:
        """Store an object as if somebody had written it; its new state."""
        meta = obj.setdefault("metadata", {})
        key = (plural, meta.get("namespace", ""), meta["name"])
        old = self.objects.get(key)
        self.revision += 1
        meta |= {"resourceVersion": str(self.revision), "uid": (old or obj)["metadata"].get("uid") or f"uid-{self.revision}"}
        self.objects[key] = copy.deepcopy(obj)
        self._happened(plural, "MODIFIED" if old else "ADDED", self.objects[key])
        return copy.deepcopy(obj)

    def remove(self, plural: str, namespace: str, name: str) -> None:
        """Delete an object as if somebody had."""
        gone = copy.deepcopy(self.objects.pop((plural, namespace, name)))
        self.revision += 1
        gone["metadata"]["resourceVersion"] = str(self.revision)
        self._happened(plural, "DELETED", gone)

    def compact(self) -> None:
        """Forget history: a watch from before now, and a page token, are too old."""
        self.compacted = self.revision
        self.history.clear()
        self.pages.clear()

    def close_streams(self) -> None:
        """End every watch without a word, as a server that goes away does."""
        for stream in list(self.streams):
            transport = stream._req.transport if stream._req else None
            if transport:
                transport.abort()

    def fail(self, what: Answer | Hang | Drop | Disturb, method: str = "GET", where: str = "", times: int = 1) -> None:
        """Queue a fault."""
        self.faults.append(Fault(what, method, where, times))

    def count(self, method: str, where: str = "") -> int:
        """How many requests came of `method` with `where` in path or query."""
        return sum(asked.method == method and where in f"{asked.path}?{dict(asked.query)}" for asked in self.asked)

    def _happened(self, plural: str, type: str, obj: Object) -> None:
        self.history.append((self.revision, plural, type, copy.deepcopy(obj)))
        self._telling = asyncio.ensure_future(self._notify())

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Every request."""
        raw = await request.read()
        body = json.loads(raw) if raw else None
        self.asked.append(Asked(request.method, request.path, request.query, request.headers, body))
        fault = self._fault(request)
        if isinstance(fault, Answer):
            return _refusal(fault)
        if isinstance(fault, Hang | Drop) and not fault.after_doing:
            return await _misbehave(request, fault)
        place = _place(request.path)
        if place.plural in self.absent:
            return _refusal(Answer(404, "NotFound"))
        if request.method == "GET" and "watch" in request.query:
            return await self._watch(request, place, fault if isinstance(fault, Disturb) else Disturb())
        done = self._do(request, place, body)
        return await _misbehave(request, fault) if isinstance(fault, Hang | Drop) else done

    def _fault(self, request: web.Request) -> Answer | Hang | Drop | Disturb | None:
        asked = f"{request.path}?{dict(request.query)}"
        for fault in self.faults:
            if fault.method == request.method and fault.where in asked:
                fault.times -= 1
                if not fault.times:
                    self.faults.remove(fault)
                return fault.what
        return None

    def _do(self, request: web.Request, place: "_Place", body: Any) -> web.Response:
        match request.method:
            case "GET" if not place.name:
                return self._list(request, place)
            case "GET":
                found = self.objects.get(place.key)
                return web.json_response(found) if found else _refusal(Answer(404, "NotFound"))
            case "POST":
                return self._create(place, body)
            case "PUT":
                return self._replace(place, body)
            case "PATCH":
                return self._patch(request, place, body)
            case _:
                return self._delete(place, body)

    def _list(self, request: web.Request, place: "_Place") -> web.Response:
        token, limit = request.query.get("continue", ""), int(request.query.get("limit", "0"))
        if token and token not in self.pages:
            return _refusal(Answer(410, "Expired", "The provided continue parameter is too old"))
        items, revision = self.pages.pop(token) if token else (self._chosen(place), self.revision)
        page, rest = (items[:limit], items[limit:]) if limit else (items, [])
        meta = {"resourceVersion": str(revision)}
        if rest:
            meta["continue"] = f"token-{len(self.pages)}-{len(rest)}-{revision}"
            self.pages[meta["continue"]] = (rest, revision)
        shown = [_metadata(item) if "PartialObjectMetadataList" in request.headers.get("Accept", "") else item for item in page]
        return web.json_response({"kind": "List", "metadata": meta, "items": shown})

    def _chosen(self, place: "_Place") -> list[Object]:
        return [
            copy.deepcopy(obj) for key, obj in sorted(self.objects.items()) if key[0] == place.plural and place.namespace in ("", key[1])
        ]

    def _create(self, place: "_Place", body: Object) -> web.Response:
        key = (place.plural, place.namespace, body["metadata"]["name"])
        if key in self.objects:
            return _refusal(Answer(409, "AlreadyExists"))
        return web.json_response(self.put(place.plural, body), status=201)

    def _replace(self, place: "_Place", body: Object) -> web.Response:
        known = self.objects.get(place.key)
        if known is None:
            return _refusal(Answer(404, "NotFound"))
        if body["metadata"].get("resourceVersion") != known["metadata"]["resourceVersion"]:
            return _refusal(Answer(409, "Conflict"))
        return web.json_response(self.put(place.plural, body))

    def _patch(self, request: web.Request, place: "_Place", body: Object) -> web.Response:
        known = self.objects.get(place.key)
        applied = request.headers["Content-Type"] == "application/apply-patch+yaml"
        wanted = body.get("metadata") or {}
        if known is None and not applied:
            return _refusal(Answer(404, "NotFound"))
        for name in ("uid", "resourceVersion"):
            if name in wanted and wanted[name] != (known or {"metadata": {}})["metadata"].get(name):
                return _refusal(Answer(409, "Conflict", f"{name} mismatch"))
        merged = _merged(known or {}, body)
        return web.json_response(merged if known and merged == known else self.put(place.plural, merged))

    def _delete(self, place: "_Place", body: Object) -> web.Response:
        known = self.objects.get(place.key)
        if known is None:
            return _refusal(Answer(404, "NotFound"))
        for name, value in ((body or {}).get("preconditions") or {}).items():
            if known["metadata"][name] != value:
                return _refusal(Answer(409, "Conflict", "Precondition failed"))
        self.remove(*place.key)
        return web.json_response({"kind": "Status", "status": "Success"})

    async def _watch(self, request: web.Request, place: "_Place", disturb: Disturb) -> web.StreamResponse:
        since = int(request.query["resourceVersion"] or 0)
        if since < self.compacted:
            return _refusal(Answer(410, "Expired", "too old resource version"))
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        stream.enable_chunked_encoding()
        await stream.prepare(request)
        self.streams.add(stream)
        try:
            await self._tell(request, stream, place, disturb, since)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.streams.discard(stream)
        return stream

    async def _tell(self, request: web.Request, stream: web.StreamResponse, place: "_Place", disturb: Disturb, since: int) -> None:
        end = asyncio.get_running_loop().time() + float(request.query["timeoutSeconds"])
        whole = "PartialObjectMetadata" not in request.headers.get("Accept", "")
        sent, last = 0, ""
        while asyncio.get_running_loop().time() < end:
            for line, revision in self._news(place, since, whole):
                since = revision
                if disturb.silent or not line:
                    continue
                if disturb.close_after == sent:
                    await stream.write(line[: len(line) // 2].encode())
                    request.transport.abort()  # type: ignore[union-attr]
                    return
                await stream.write((line + "\n").encode() * (2 if disturb.twice else 1))
                if disturb.stale and last:
                    await stream.write((last + "\n").encode())
                sent, last = sent + 1, line
            if disturb.error_after and sent >= disturb.error_after[0]:
                await stream.write(_expired(disturb.error_after[1]).encode() + b"\n")
                return
            if disturb.garbage_after is not None and sent >= disturb.garbage_after:
                await stream.write(b"<html>a proxy was here</html>\n")
                return
            since = await self._pause(stream, disturb, since)
            if since < self.compacted:
                await stream.write(_expired().encode() + b"\n")
                return

    async def _pause(self, stream: web.StreamResponse, disturb: Disturb, since: int) -> int:
        """Wait for news, at most until a bookmark is due; how far the stream is then."""
        try:
            async with asyncio.timeout(self.bookmark_s), self.changed:
                await self.changed.wait_for(lambda: self.compacted > since or any(revision > since for revision, *_ in self.history))
        except TimeoutError:
            unsent = any(revision > since for revision, *_ in self.history)
            if not disturb.silent and not unsent:
                since = max(since, self.revision)
                mark = {"metadata": {"resourceVersion": str(since)}}
                await stream.write(json.dumps({"type": "BOOKMARK", "object": mark}).encode() + b"\n")
        return since

    def _news(self, place: "_Place", since: int, whole: bool) -> Iterator[tuple[str, int]]:
        for revision, plural, type, obj in list(self.history):
            if revision > since:
                concerns = plural == place.plural and place.namespace in ("", obj["metadata"].get("namespace", ""))
                yield json.dumps({"type": type, "object": obj if whole else _metadata(obj)}) if concerns else "", revision


@dataclass(frozen=True, slots=True)
class _Place:
    plural: str
    namespace: str
    name: str

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.plural, self.namespace, self.name)


def _place(path: str) -> _Place:
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    return _Place(parts[0], namespace, parts[1] if len(parts) > 1 else "")


def _expired(code: int = 410) -> str:
    status = {"kind": "Status", "code": code, "reason": "Expired" if code == 410 else "", "message": "too old resource version"}
    return json.dumps({"type": "ERROR", "object": status})


def _metadata(obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return copy.deepcopy(new)
    return old | {name: _merged(old.get(name), value) for name, value in new.items()}


def _refusal(answer: Answer) -> web.Response:
    headers = {"Retry-After": answer.retry_after} if answer.retry_after else {}
    if answer.html:
        return web.Response(status=answer.status, text="<html>bad gateway</html>", content_type="text/html", headers=headers)
    causes = [{"field": field, "message": message, "reason": reason} for field, message, reason in answer.causes]
    told = {"kind": "Status", "code": answer.status, "reason": answer.reason, "message": answer.message, "details": {"causes": causes}}
    return web.json_response(told, status=answer.status, headers=headers)


async def _misbehave(request: web.Request, fault: Hang | Drop) -> web.StreamResponse:
    if isinstance(fault, Hang):
        await asyncio.sleep(3600)
    request.transport.abort()  # type: ignore[union-attr]
    return web.Response()


@asynccontextmanager
async def serving() -> AsyncIterator[FaultyApiServer]:
    """The server on a free port, for the length of the block."""
    faulty = FaultyApiServer()
    app = web.Application(client_max_size=16 << 20)
    app.router.add_route("*", "/{path:.*}", faulty.handle)
    server = TestServer(app, port=0, shutdown_timeout=0.1)
    await server.start_server()
    faulty.url = str(server.make_url("")).rstrip("/")
    try:
        yield faulty
    finally:
        await server.close()


@asynccontextmanager
async def client(faulty: FaultyApiServer, metrics: Metrics | None = None, **limits: float) -> AsyncIterator[Api]:
    """A client of it."""
    connection = Connection(Configuration(host=faulty.url), metrics or Metrics())
    try:
        yield Api(connection, **limits)  # type: ignore[arg-type]
    finally:
        await connection.close()


async def until(condition: Any, seconds: float = 30.0) -> None:
    """Return when `condition()` is true; fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
