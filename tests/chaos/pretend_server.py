"""A fake API server in memory, for crashes by the thousand: objects, revisions, watches, owners, finalizers. It validates nothing.

It says what the operator's runtime asks: pages, watches with bookmarks, 404, 409 and 410, server-side apply by one manager, deletion with
preconditions. Everybody else's controllers are in `pretend_outside`; what goes wrong on the way is in `pretend_wire`. What a real server
does with the same requests is tested in tests/cluster. Invariant: a revision a change, and none where a write changes nothing.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.unit.operator_msmrun.cluster import START, timedelta

Object = dict[str, Any]
Listener = Callable[[str, str, Object], None]
"""Hears (ADDED, MODIFIED or DELETED; plural; object) after each change."""


class Refused(Exception):
    """An answer of 400 and more."""

    def __init__(self, status: int, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class Place:
    """What a URL names."""

    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.plural, self.namespace, self.name)

    @classmethod
    def of(cls, path: str) -> "Place":
        parts = path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        return cls(parts[0], namespace, *parts[1:3])


@dataclass(frozen=True, slots=True)
class Happened:
    """One line of history; `text` is the object as JSON."""

    revision: int
    plural: str
    type: str
    namespace: str
    labels: Mapping[str, str]
    text: str


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a replica that was carried out."""

    second: float
    by: str
    method: str
    plural: str
    name: str
    status: bool
    holder: str
    """Who held the lease then."""


@dataclass(slots=True)
class PretendServer:
    """The server's memory. `seconds` is virtual time."""

    seconds: Callable[[], float]
    objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    history: list[Happened] = field(default_factory=list)
    revision: int = 100
    compacted: int = 0
    writes: list[Write] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Replaced at each change: whoever waits takes the present one."""
    pages: dict[str, tuple[list[Object], int]] = field(default_factory=dict)
    made: int = 0

    def stamp(self) -> str:
        return (START + timedelta(seconds=self.seconds())).strftime("%Y-%m-%dT%H:%M:%SZ")

    def of(self, plural: str) -> list[Object]:
        """A kind's objects, for reading."""
        return [found for key, found in sorted(self.objects.items()) if key[0] == plural]

    def put(self, plural: str, body: Mapping[str, Any]) -> Object:
        """Create or replace, as somebody else than the operator would."""
        meta = body["metadata"]
        key = (plural, meta.get("namespace", ""), meta["name"])
        known = self.objects.get(key)
        text = json.dumps({**body, "metadata": {**self._identity(key, known), **meta, "resourceVersion": ""}})
        found: Object = json.loads(text)
        found["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"] if known else ""
        if known == found:
            return known
        if plural == "msmruns" and known is not None and known.get("spec") != found.get("spec"):
            found["metadata"]["generation"] = known["metadata"]["generation"] + 1
        self._happened("MODIFIED" if known else "ADDED", key, found)
        return self._settle(key)

    def _identity(self, key: tuple[str, str, str], known: Object | None) -> Object:
        if known is not None:
            return {name: known["metadata"][name] for name in ("uid", "creationTimestamp", "generation")}
        self.made += 1
        mark = hashlib.sha256("/".join(key).encode()).hexdigest()
        uid = f"{mark[:8]}-{mark[8:12]}-4{mark[12:15]}-8{mark[15:18]}-{self.made:012d}" if key[0] != "msmruns" else _uid(mark)
        return {"uid": uid, "creationTimestamp": self.stamp(), "generation": 1}

    def _settle(self, key: tuple[str, str, str]) -> Object:
        """The object as it is now; gone when it was only held by finalizers that it has no longer."""
        found = self.objects[key]
        if "deletionTimestamp" in found["metadata"] and not found["metadata"].get("finalizers"):
            self._gone(key)
        return found

    def _happened(self, type_: str, key: tuple[str, str, str], found: Object) -> None:
        self.revision += 1
        found["metadata"]["resourceVersion"] = str(self.revision)
        if type_ != "DELETED":
            self.objects[key] = found
        self.history.append(Happened(self.revision, key[0], type_, key[1], found["metadata"].get("labels") or {}, json.dumps(found)))
        self.news.set()
        self.news = asyncio.Event()
        for listener in self.listeners:
            listener(type_, key[0], found)

    def delete(self, plural: str, namespace: str, name: str) -> None:
        """Ask for a deletion; finalizers hold the object."""
        key = (plural, namespace, name)
        found = self.objects[key]
        if not found["metadata"].get("finalizers"):
            self._gone(key)
        elif "deletionTimestamp" not in found["metadata"]:
            self._happened("MODIFIED", key, {**found, "metadata": {**found["metadata"], "deletionTimestamp": self.stamp()}})

    def _gone(self, key: tuple[str, str, str]) -> None:
        found = self.objects.pop(key)
        self._happened("DELETED", key, {**found, "metadata": dict(found["metadata"])})

    def compact(self) -> None:
        """Forget history: page tokens and watches from before now are too old."""
        self.compacted = self.revision
        self.history.clear()
        self.pages.clear()
        self.news.set()
        self.news = asyncio.Event()

    def answer(self, by: str, method: str, place: Place, query: Mapping[str, str], body: Any) -> Object:
        """One request but a watch. Raises `Refused`."""
        if method == "GET":
            return self._known(place) if place.name else self._list(place, query)
        done = self._write(method, place, body)
        if place.plural not in ("leases", "events"):
            name = place.name or body["metadata"]["name"]
            self.writes.append(Write(self.seconds(), by, method, place.plural, name, place.subresource == "status", self.holder))
        return done

    @property
    def holder(self) -> str:
        """Who has the lease."""
        return next((str(lease["spec"].get("holderIdentity") or "") for lease in self.of("leases")), "")

    def _known(self, place: Place) -> Object:
        if place.key not in self.objects:
            raise Refused(404, "NotFound")
        return self.objects[place.key]

    def _list(self, place: Place, query: Mapping[str, str]) -> Object:
        token, limit = query.get("continue", ""), int(query.get("limit", "0"))
        if token and token not in self.pages:
            raise Refused(410, "Expired", "the continue token is too old")
        items, revision = self.pages.pop(token) if token else (self._chosen(place, query), self.revision)
        rest = items[limit:] if limit else []
        meta = {"resourceVersion": str(revision)}
        if rest:
            meta["continue"] = f"token-{revision}-{len(rest)}-{len(self.pages)}"
            self.pages[meta["continue"]] = (rest, revision)
        return {"kind": "List", "metadata": meta, "items": items[: len(items) - len(rest)]}

    def _chosen(self, place: Place, query: Mapping[str, str]) -> list[Object]:
        selector = query.get("labelSelector", "")
        return [
            found
            for found in self.of(place.plural)
            if place.namespace in ("", found["metadata"].get("namespace", "")) and matches(selector, found["metadata"].get("labels") or {})
        ]

    def _write(self, method: str, place: Place, body: Any) -> Object:
        match method:
            case "POST":
                return self._create(place, body)
            case "PUT":
                return self._replace(place, body)
            case "DELETE":
                return self._delete(place, body)
            case _:
                return self._apply(place, body)

    def _create(self, place: Place, body: Object) -> Object:
        if (place.plural, place.namespace, body["metadata"]["name"]) in self.objects:
            raise Refused(409, "AlreadyExists")
        return self.put(place.plural, body)

    def _replace(self, place: Place, body: Object) -> Object:
        if body["metadata"].get("resourceVersion") != self._known(place)["metadata"]["resourceVersion"]:
            raise Refused(409, "Conflict", "the object has been modified")
        return self.put(place.plural, body)

    def _delete(self, place: Place, body: Object | None) -> Object:
        found = self._known(place)
        for name, value in ((body or {}).get("preconditions") or {}).items():
            if found["metadata"][name] != value:
                raise Refused(409, "Conflict", "a precondition failed")
        self.delete(*place.key)
        return {"kind": "Status", "status": "Success"}

    def _apply(self, place: Place, body: Object) -> Object:
        """Server-side apply by the one manager there is, and the merge patch of an event's series."""
        known, meta = self.objects.get(place.key), body.get("metadata") or {}
        if known is None:
            if "uid" in meta:
                raise Refused(409, "Conflict", "uid mismatch: the object does not exist")
            if place.subresource or not meta:
                raise Refused(404, "NotFound")
            return self.put(place.plural, body)
        for name in ("uid", "resourceVersion"):
            if name in meta and meta[name] != known["metadata"][name]:
                raise Refused(409, "Conflict", f"{name} mismatch")
        if place.subresource == "status":
            return self.put(place.plural, {**known, "status": body["status"]})
        added = set(meta.get("finalizers", ())) - set(known["metadata"].get("finalizers", ()))
        if added and "deletionTimestamp" in known["metadata"]:
            raise Refused(422, "Invalid", "no new finalizers can be added if the object is being deleted")
        kept = {name: value for name, value in known["metadata"].items() if name != "finalizers"} if meta else known["metadata"]
        return self.put(place.plural, {**known, **body, "metadata": {**kept, **meta}})

    def since(self, place: Place, query: Mapping[str, str], revision: int) -> Iterator[Happened]:
        """What a watch has to tell that is at `revision`."""
        selector = query.get("labelSelector", "")
        for one in self.history:
            concerns = one.revision > revision and one.plural == place.plural and place.namespace in ("", one.namespace)
            if concerns and matches(selector, one.labels):
                yield one


def matches(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether labels are those of `a=b,c=d`."""
    return all(labels.get(name) == value for name, _, value in (term.partition("=") for term in selector.split(",") if term))


def _uid(mark: str) -> str:
    """A uid that follows from the name, so that two worlds have the same."""
    return f"{mark[:8]}-{mark[8:12]}-4{mark[12:15]}-8{mark[15:18]}-{mark[18:30]}"
