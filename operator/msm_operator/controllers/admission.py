"""Which frozen documents a run has: found in memory, found in the store, or made by accepting it.

Neighbours: `accept` and `documents` do the work in threads, `msmrun` goes on with the result. Invariants: a run whose status has a plan is
never planned again; a store that gave no answer is left alone for a while by all runs. Cost: one read of a plan for each run that is not
in memory.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from msm.api import MSMRun
from msm.api.inputs import KeyRef
from msm.errors import IntegrityError, TryAgain
from msm.resolve.hub import NotReadable
from msm.store import StoreConfig
from msm_operator.controllers import finishing
from msm_operator.controllers.accept import Asked, accept, config_maps, parse
from msm_operator.controllers.credentials import store_config
from msm_operator.controllers.documents import Documents, load, run_id
from msm_operator.controllers.private import is_answered
from msm_operator.controllers.rooms import Rooms
from msm_operator.runtime.cache import key_of
from msm_operator.runtime.resources import CONFIGMAPS
from msm_operator.runtime.seams import Key

T = TypeVar("T")
KEPT_DOCUMENTS = 1000
"""Runs whose plan is kept in memory; the others are read again when something happens to them."""


@dataclass(slots=True)
class Admission:
    """What was accepted, for the runs that are at work; by uid."""

    rooms: Rooms
    kept: "OrderedDict[str, Documents]" = field(default_factory=OrderedDict)
    private: set[str] = field(default_factory=set)
    """Runs with inputs that the operator may not read."""

    async def documents(self, obj: Mapping[str, Any], run: MSMRun) -> Documents | None:
        """The run's frozen documents; None while they are being made.

        Raises:
            UserError: it cannot be accepted; TryAgain: something does not answer; IntegrityError: the plan is gone or another.
        """
        uid = obj["metadata"]["uid"]
        found = self.kept.get(uid)
        if found is None:
            frozen = obj.get("status", {}).get("plan", {}).get("digest")
            found = await (self.frozen(obj, run) if frozen else self._accepted(obj, run))
            if found is None:
                return None
            if frozen and found.digest != frozen:
                raise IntegrityError(f"runs/{found.id}/plan.json is another plan than was accepted ({frozen[:12]})")
            self.kept[uid] = found
        self.kept.move_to_end(uid)
        while len(self.kept) > KEPT_DOCUMENTS:
            self.kept.popitem(last=False)
        return found

    async def frozen(self, obj: Mapping[str, Any], run: MSMRun | None = None) -> Documents:
        """The documents of a run that was accepted before."""
        metadata = obj["metadata"]
        config = await self.config(obj, run or parse(obj))
        id_ = run_id(metadata["name"], metadata["uid"])
        found = await self.ask(config, lambda: load(self.rooms.stores.open(config), config, id_))
        if found is None:
            raise IntegrityError(f"runs/{id_}/plan.json is gone; the run was accepted with it and cannot go on without")
        return found

    async def _accepted(self, obj: Mapping[str, Any], run: MSMRun) -> Documents | None:
        """Accept a run, in a thread; None until that is done."""
        rooms = self.rooms
        config = await self.config(obj, run)
        await finishing.guard(obj, run, rooms)
        store = await self.ask(config, lambda: rooms.stores.open(config))
        asked = Asked(run, obj["metadata"]["namespace"], obj["metadata"]["uid"], await self._texts(obj, run))
        uid = asked.uid
        if uid in self.private and not await is_answered(obj, asked, config, store, rooms):
            return None
        work = partial(accept, asked, config, store, rooms.clients, rooms.installation)
        try:
            done = rooms.background.pick_up(key_of(obj), "accept", work)
        except NotReadable:
            if rooms.installation.hub_secret is None:
                raise
            self.private.add(uid)
            await is_answered(obj, asked, config, store, rooms)
            return None
        return None if done is None else done[0]

    async def ask(self, config: StoreConfig, question: Callable[[], T]) -> T:
        """What a store answers; one that is silent is left alone for a while, by all runs.

        Raises:
            TryAgain: it does not answer, or did not a moment ago.
        """
        stores = self.rooms.stores
        stores.check(config)
        try:
            return await self.rooms.background.ask(question)
        except TryAgain as error:
            stores.silent(config, str(error))
            raise

    async def config(self, obj: Mapping[str, Any], run: MSMRun) -> StoreConfig:
        """Where the run's artifacts lie."""
        return await store_config(obj, run, self.rooms.get, self.rooms.installation, self.rooms.cache_directory)

    async def _texts(self, obj: Mapping[str, Any], run: MSMRun) -> dict[KeyRef, str]:
        """Contents of the ConfigMaps that a run names; absent ones are left out."""
        found: dict[KeyRef, str] = {}
        for ref in config_maps(run):
            held = await self.rooms.get(CONFIGMAPS, Key(obj["metadata"]["namespace"], ref.name))
            if held is not None and ref.key in (held.get("data") or {}):
                found[ref] = held["data"][ref.key]
        return found

    def forget(self, uid: str) -> None:
        """A run that needs no more passes."""
        self.kept.pop(uid, None)
        self.private.discard(uid)
