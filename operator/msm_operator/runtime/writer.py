"""The leader's writes: each behind the fence, each answer shown to the cache at once.

Implements `seams.Writer` on `api`, `leader.Fence`, `events.Recorder` and the stores. Invariants: nothing is sent by a replica that does
not lead; after `apply` returns, the caches are at least as new as what was written, so the next pass does not write it again.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from msm_operator.runtime.api import Api, Object, Selection
from msm_operator.runtime.cache import Store
from msm_operator.runtime.errors import Conflict, NotFound
from msm_operator.runtime.events import Recorder
from msm_operator.runtime.leader import Fence
from msm_operator.runtime.resources import Resource
from msm_operator.runtime.seams import EventType, Key, Propagation


class LeaderWriter:
    """What controllers write through."""

    def __init__(self, api: Api, fence: Fence, recorder: Recorder) -> None:
        self._api, self._fence, self._recorder = api, fence, recorder
        self._stores: list[tuple[Selection, Store]] = []

    def freshen(self, chosen: Selection, store: Store) -> None:
        """Show `store` the answers to writes of what it follows."""
        self._stores.append((chosen, store))

    async def apply(self, resource: Resource, body: Mapping[str, Any], *, status: bool = False) -> Mapping[str, Any]:
        """Server-side apply of what we own of an object; see `seams.Writer`."""
        stored = await self._fence.guard(lambda: self._api.apply(resource, body, status=status))
        for chosen, store in self._stores:
            if _follows(chosen, resource, stored):
                store.wrote(stored)
        return stored

    async def delete(self, resource: Resource, key: Key, *, uid: str | None, propagation: Propagation = "Background") -> None:
        """Delete the object if its uid is `uid`; an absent one or one of another uid is a success."""
        try:
            await self._fence.guard(lambda: self._api.delete(resource, key, uid=uid or "", propagation=propagation))
        except NotFound:
            return
        except Conflict:
            if not uid:
                raise

    async def event(self, about: Mapping[str, Any], type: EventType, reason: str, action: str, note: str) -> None:
        """Tell what happened to `about`; returns before it is sent."""
        self._recorder.record(about, type, reason, action, note)


def _follows(chosen: Selection, resource: Resource, stored: Object) -> bool:
    meta = stored["metadata"]
    return (
        chosen.resource == resource
        and not chosen.metadata_only
        and not chosen.fields
        and chosen.namespace in ("", meta.get("namespace", ""))
        and _selected(_terms(chosen.labels), meta.get("labels") or {})
    )


def _terms(selector: str) -> Iterable[tuple[str, str, str]]:
    return (term.partition("=") for term in selector.split(",") if term)


def _selected(terms: Iterable[tuple[str, str, str]], labels: Mapping[str, str]) -> bool:
    """Whether labels match `a=b,c`; of any other form of selector we say no, which costs one look more and never errs."""
    return all((labels.get(name) == value) if equal else (name in labels) for name, equal, value in terms)
