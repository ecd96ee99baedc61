"""What a controller sees of the runtime: keys, caches, a writer; and what the runtime sees of a controller.

Protocols only, so that controllers are tested without a control plane and the runtime without controllers. Invariant: objects are
the dicts that the API server sent, never copied on a read and never changed by a reader.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal, NamedTuple, Protocol

from msm_operator.runtime.resources import Resource

Propagation = Literal["Background", "Foreground", "Orphan"]
EventType = Literal["Normal", "Warning"]


class Key(NamedTuple):
    """Which object; `namespace` is empty for kinds that have none."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Cache(Protocol):
    """What is known of one kind, as of the last event; may be behind the API server by the time of one event."""

    def get(self, key: Key) -> Mapping[str, Any] | None:
        """The object, or None where there is none."""
        ...

    def owned_by(self, uid: str) -> list[Mapping[str, Any]]:
        """Objects with an owner reference to `uid`, in no promised order."""
        ...

    def all(self) -> Iterable[Mapping[str, Any]]:
        """Every object."""
        ...


class Writer(Protocol):
    """Writes of the leader; each raises `errors.NotLeading` once the lease is lost, before anything is sent."""

    async def apply(self, resource: Resource, body: Mapping[str, Any], *, status: bool = False) -> Mapping[str, Any]:
        """Server-side apply of what we own of an object; returns the object as stored.

        `body` needs apiVersion, kind, metadata.name and metadata.namespace; fields that were applied before and are absent now are
        removed. With `status` the status subresource is applied (`body` then holds nothing but identity and status). Put
        metadata.uid into `body` where an object of another uid must not be touched or created, and metadata.resourceVersion where a
        decision on an old state must not be written: both fail with `Conflict`, which is tried again after a short pause.
        """
        ...

    async def delete(self, resource: Resource, key: Key, *, uid: str | None, propagation: Propagation = "Background") -> None:
        """Delete the object if its uid is `uid` (None: whatever it is); an absent one or one of another uid is a success."""
        ...

    async def event(self, about: Mapping[str, Any], type: EventType, reason: str, action: str, note: str) -> None:
        """Tell what happened to `about`; repetitions are counted into one Event. Never raises: an event is no state."""
        ...


class Reconciler(Protocol):
    """One controller's work on one object."""

    async def reconcile(self, key: Key) -> timedelta | None:
        """Bring the object one step on; the delay after which to look again, None for when something changes. Raising: backoff."""
        ...
