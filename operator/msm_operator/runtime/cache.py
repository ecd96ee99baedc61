"""What is known of one kind of object, packed: the store that a reflector fills, a writer's answers freshen and controllers read.

Implements `seams.Cache`. Objects lie as compressed JSON, so 5,000 runs take 6 MiB instead of 120 (docs/design/operator-runtime.md), and
each read decodes a fresh dict, so a reader cannot change what others see. Invariants: an object never goes back to an older resource
version, except by a new list; indexes hold exactly what the objects say. Cost: 0.2 ms a write or read of 5 KB.
"""

import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from msm_operator.runtime.seams import Key

Object = Mapping[str, Any]
Trim = Callable[[dict[str, Any]], dict[str, Any]]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Change:
    """What a handler hears; `object` is the last known state of a deleted one."""

    type: Literal["added", "updated", "deleted"]
    key: Key
    object: Object
    echo: bool = False
    """Whether the store knew exactly this version already: the echo of a write of ours, or an event that came twice."""


@dataclass(frozen=True, slots=True)
class _Entry:
    version: str
    owners: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    packed: bytes


def key_of(obj: Object) -> Key:
    """Where an object is."""
    meta = obj["metadata"]
    return Key(meta.get("namespace", ""), meta["name"])


def uid_of(obj: Object) -> str:
    """Which object it is, of all that ever had its name."""
    return str(obj["metadata"].get("uid", ""))


def version_of(obj: Object) -> str:
    """Its resource version."""
    return str(obj["metadata"].get("resourceVersion", ""))


def older(one: str, other: str) -> bool:
    """Whether resource version `one` is before `other`; False where either is no number, which says nothing.

    Source: KEP-5504, resource versions of one kind are ordered as decimal numbers.
    """
    return one.isdecimal() and other.isdecimal() and int(one) < int(other)


def trimmed(obj: dict[str, Any]) -> dict[str, Any]:
    """The object without what no controller reads and what is often half of it."""
    meta = obj["metadata"]
    meta.pop("managedFields", None)
    if LAST_APPLIED in (meta.get("annotations") or {}):
        del meta["annotations"][LAST_APPLIED]
    return obj


class Store:
    """One kind's objects, by key, by owner's uid and by the labels in `indexed`."""

    def __init__(self, *, indexed: Iterable[str] = (), trim: Trim = trimmed) -> None:
        self._trim = trim
        self._indexed = tuple(indexed)
        self._entries: dict[Key, _Entry] = {}
        self._owned: defaultdict[str, set[Key]] = defaultdict(set)
        self._labelled: defaultdict[tuple[str, str], set[Key]] = defaultdict(set)
        self._position = ""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Object | None:
        """The object, or None where there is none."""
        entry = self._entries.get(key)
        return _unpacked(entry) if entry else None

    def owned_by(self, uid: str) -> list[Object]:
        """Objects with an owner reference to `uid`."""
        return [_unpacked(self._entries[key]) for key in self._owned.get(uid, ())]

    def labelled(self, label: str, value: str) -> list[Object]:
        """Objects whose `label`, one of the indexed ones, is `value`."""
        if label not in self._indexed:
            raise KeyError(f"no index by the label {label}; there are {self._indexed}")
        return [_unpacked(self._entries[key]) for key in self._labelled.get((label, value), ())]

    def in_namespace(self, namespace: str) -> Iterator[Object]:
        """Every object of one namespace; O(all)."""
        return (_unpacked(entry) for key, entry in list(self._entries.items()) if key.namespace == namespace)

    def all(self) -> Iterator[Object]:
        """Every object, decoded as the reader comes to it."""
        return (_unpacked(entry) for entry in list(self._entries.values()))

    def keys(self) -> list[Key]:
        """Where objects are; no decoding."""
        return list(self._entries)

    def version(self, key: Key) -> str:
        """The resource version that is known of an object; empty where there is none."""
        return self._entries[key].version if key in self._entries else ""

    def reached(self, version: str) -> None:
        """A watch is at `version`: no answer to a write from before it can be news."""
        if not older(version, self._position):
            self._position = version

    def rewind(self, namespace: str) -> None:
        """Believe whatever a list says next: the server's history began anew (a restored backup), so versions do not compare."""
        self._position = ""
        for key, entry in self._entries.items():
            if not namespace or key.namespace == namespace:
                self._entries[key] = replace(entry, version="")

    def put(self, obj: dict[str, Any]) -> Change:
        """Take what a watch or a list says. Something older than what is known is not taken, but still a change to look at."""
        key, version = key_of(obj), version_of(obj)
        known = self._entries.get(key)
        if known and older(version, known.version):
            return Change("updated", key, _unpacked(known))
        kept = self._insert(key, obj)
        return Change("updated" if known else "added", key, kept, echo=known is not None and known.version == version)

    def wrote(self, obj: dict[str, Any]) -> None:
        """Take the answer to our own write, so that the next read has it; ignored when a watch already went beyond it."""
        key, version = key_of(obj), version_of(obj)
        known = self._entries.get(key)
        if older(self._position, version) and (known is None or older(known.version, version)):
            self._insert(key, json.loads(json.dumps(obj)))

    def remove(self, key: Key, version: str = "") -> Change | None:
        """Forget an object, unless it is known from after `version`; None when it is not known at all."""
        known = self._entries.get(key)
        if known is None:
            return None
        if version and older(version, known.version):
            return Change("updated", key, _unpacked(known))
        self._drop(key)
        return Change("deleted", key, _unpacked(known))

    def retain(self, keys: set[Key], namespace: str, version: str) -> Iterator[Change]:
        """Forget what a list at `version` of `namespace` ("" for all) does not have; news from after it stay."""
        gone = [key for key in self._entries if key not in keys and (not namespace or key.namespace == namespace)]
        for key in gone:
            change = self.remove(key, version)
            if change:
                yield change

    def _insert(self, key: Key, obj: dict[str, Any]) -> Object:
        self._drop(key)
        kept = self._trim(obj)
        meta = kept["metadata"]
        labels = meta.get("labels") or {}
        entry = _Entry(
            version_of(kept),
            tuple(str(owner["uid"]) for owner in meta.get("ownerReferences") or ()),
            tuple((label, labels[label]) for label in self._indexed if label in labels),
            zlib.compress(json.dumps(kept, separators=(",", ":")).encode(), 1),
        )
        self._entries[key] = entry
        for owner in entry.owners:
            self._owned[owner].add(key)
        for label in entry.labels:
            self._labelled[label].add(key)
        return kept

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        for owner in entry.owners:
            _discard(self._owned, owner, key)
        for label in entry.labels:
            _discard(self._labelled, label, key)


def _discard(index: defaultdict[Any, set[Key]], value: Any, key: Key) -> None:
    index[value].discard(key)
    if not index[value]:
        del index[value]


def _unpacked(entry: _Entry) -> Object:
    found: Object = json.loads(zlib.decompress(entry.packed))
    return found
