"""The MSMRun controller: a pass brings one run one step on.

Read caches, observe the store, decide, apply children, write the status once, tell. Neighbours: `accept`, `look`, `decide_stages` and
`summary` do the parts; `runtime.controller` calls `reconcile`. Invariants: level-based, so that a pass may be lost, repeated or late;
children are applied before the status that speaks of them; a status that says nothing new is not written; whatever is down outside is a
condition.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from msm.api import MSMRun
from msm.errors import IntegrityError, MSMError, TryAgain, UserError
from msm.local.status import Phase, RunStatus
from msm.store import StoreConfig
from msm_operator.controllers import conclude, finishing
from msm_operator.controllers.accept import Asked, accept, config_maps, parse
from msm_operator.controllers.children import act
from msm_operator.controllers.decide_stages import Decision, RunPhase, decide
from msm_operator.controllers.documents import Documents, config_for, keep_status, load, run_id
from msm_operator.controllers.look import POLL_SECONDS, Memory, is_idle, look
from msm_operator.controllers.observe import observe
from msm_operator.controllers.observed import Observed, Policy
from msm_operator.controllers.rooms import Rooms
from msm_operator.controllers.showing import asked_of, config_of, tracking_condition
from msm_operator.controllers.summary import Outside, refused, resource_status, run_status
from msm_operator.runtime.errors import ApiError
from msm_operator.runtime.resources import CONFIGMAPS, MSMRUNS, SECRETS
from msm_operator.runtime.seams import Key
from msm_operator.status.changes import events, is_worth_writing
from msm_operator.status.conditions import Wanted, conditions, find, moment
from msm_operator.status.model import Status
from msm_operator.status.reasons import ConditionType, Reason

log = logging.getLogger(__name__)
T = TypeVar("T")
AGAIN = timedelta(seconds=10)
LATER = timedelta(seconds=60)
QUIETLY = timedelta(seconds=2)
KEPT_DOCUMENTS = 1000
"""Runs whose plan is kept in memory; the others are read again when something happens to them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass came to: the status to apply, when to look again, and what is kept in the store when it is written."""

    status: dict[str, Any]
    delay: timedelta | None
    kept: tuple[Documents, RunStatus] | None = None


@dataclass(slots=True)
class MSMRunReconciler:
    """One controller. What it remembers between passes is for speed alone."""

    rooms: Rooms
    memories: dict[Key, tuple[str, Memory]] = field(default_factory=dict)
    documents: "OrderedDict[str, Documents]" = field(default_factory=OrderedDict)

    async def reconcile(self, key: Key) -> timedelta | None:
        """Bring a run one step on."""
        obj = self.rooms.caches.runs.get(key)
        if obj is None or finishing.is_over(obj):
            self._forget(key)
        if obj is None:
            return None
        if "deletionTimestamp" in obj["metadata"]:
            return await finishing.finalize(obj, self.rooms, partial(self._config, obj))
        if finishing.is_over(obj):
            return await finishing.afterwards(obj, self.rooms, partial(self._frozen, obj))
        outcome = await self._outcome(obj)
        await self._write(obj, outcome)
        return outcome.delay

    async def _outcome(self, obj: Mapping[str, Any]) -> Outcome:
        """A pass; whatever a run or the outside does wrong becomes a status."""
        try:
            run = parse(obj)
        except UserError as error:
            return self._refused(obj, _reason(error), str(error), None)
        try:
            documents = await self._documents(obj, run)
            return self._resolving(obj) if documents is None else await self._advance(obj, run, documents)
        except UserError as error:
            return self._refused(obj, _reason(error), str(error), LATER)
        except TryAgain as error:
            return self._unavailable(obj, Reason.UNREACHABLE, str(error))
        except ApiError:
            raise
        except MSMError as error:
            return self._unavailable(obj, Reason.DAMAGED, str(error))

    async def _advance(self, obj: Mapping[str, Any], run: MSMRun, documents: Documents) -> Outcome:
        """Observe, decide, act; returns what to say of it."""
        rooms, now = self.rooms, self.rooms.clock.now()
        memory = self._memory(obj)
        policy, monotonic = Policy.of(run), rooms.clock.monotonic()
        observed = observe(obj, policy, documents, memory, rooms.caches, rooms.installed, now, monotonic)
        if not is_idle(observed, memory, rooms.clock):
            made = moment(obj["metadata"].get("creationTimestamp")) or now
            asking = partial(look, observed, memory, documents.store, made, rooms.clock)
            observed = await self._ask(documents.config, asking)
        decision = await act(obj, documents, observed, decide(observed, now), rooms, now)
        return self._said(obj, documents, observed, decision, now)

    def _said(self, obj: Mapping[str, Any], documents: Documents, observed: Observed, decision: Decision, now: datetime) -> Outcome:
        before = obj.get("status", {})
        started = moment(obj["metadata"].get("creationTimestamp")) or now
        kept = run_status(documents, observed, decision, started, now)
        outside = self._outside(obj, documents, kept, decision)
        if decision.phase is RunPhase.COMPLETE and not outside.concluded:
            kept = kept.model_copy(update={"phase": Phase.RUNNING})
        status = resource_status(documents, observed, decision, kept, obj["metadata"].get("generation", 0), outside)
        return Outcome(status.to_dict(before, now), self._delay(decision, outside, now), (documents, kept))

    def _outside(self, obj: Mapping[str, Any], documents: Documents, kept: RunStatus, decision: Decision) -> Outside:
        """MLflow's state; and, when everything is committed, the results: computed beside the loop and picked up here."""
        key = _key(obj)
        results, note, concluded = conclude.kept_brief(obj.get("status", {})), "", False
        full: Mapping[str, Any] | None = None
        if decision.phase is RunPhase.COMPLETE:
            work = partial(conclude.conclude, documents, kept, self.rooms.cache_directory)
            found = self.rooms.background.pick_up(key, "conclude", work)
            if found is not None:
                computed, note = found[0]
                results, concluded = conclude.brief(computed, documents.id), True
                full = computed.model_dump(mode="json", by_alias=True)
        config = config_of(documents, self.rooms.installation)
        if config is not None:
            self.rooms.tracker.ask(asked_of(documents, kept, full), config)
        return Outside(tracking_condition(obj, documents, config, self.rooms.tracker), results, concluded, note)

    def _delay(self, decision: Decision, outside: Outside, now: datetime) -> timedelta | None:
        """When to look again by ourselves: the next retry, or the next poll; events come in between."""
        if decision.phase is RunPhase.SUSPENDED or outside.concluded or decision.phase is RunPhase.FAILED:
            return None
        poll = timedelta(seconds=POLL_SECONDS * self.rooms.rng.uniform(0.9, 1.1))
        due = decision.wake - now if decision.wake is not None else poll
        return max(timedelta(seconds=0.2), min(poll, due))

    async def _documents(self, obj: Mapping[str, Any], run: MSMRun) -> Documents | None:
        """The run's frozen documents; None while they are being made.

        Raises:
            UserError: it cannot be accepted; TryAgain: something does not answer; IntegrityError: the plan is gone or another.
        """
        uid = obj["metadata"]["uid"]
        found = self.documents.get(uid)
        if found is None:
            frozen = obj.get("status", {}).get("plan", {}).get("digest")
            found = await (self._frozen(obj, run) if frozen else self._accepted(obj, run))
            if found is None:
                return None
            if frozen and found.digest != frozen:
                raise IntegrityError(f"runs/{found.id}/plan.json is another plan than was accepted ({frozen[:12]})")
            self.documents[uid] = found
        self.documents.move_to_end(uid)
        while len(self.documents) > KEPT_DOCUMENTS:
            self.documents.popitem(last=False)
        return found

    async def _frozen(self, obj: Mapping[str, Any], run: MSMRun | None = None) -> Documents:
        """The documents of a run that was accepted before."""
        metadata = obj["metadata"]
        config = await self._config(obj, run or parse(obj))
        id_ = run_id(metadata["name"], metadata["uid"])
        found = await self._ask(config, lambda: load(self.rooms.stores.open(config), config, id_))
        if found is None:
            raise IntegrityError(f"runs/{id_}/plan.json is gone; the run was accepted with it and cannot go on without")
        return found

    async def _accepted(self, obj: Mapping[str, Any], run: MSMRun) -> Documents | None:
        """Accept a run, in a thread; None until that is done."""
        rooms = self.rooms
        config = await self._config(obj, run)
        store = await self._ask(config, lambda: rooms.stores.open(config))
        asked = Asked(run, obj["metadata"]["namespace"], obj["metadata"]["uid"], await self._texts(obj, run))
        work = partial(accept, asked, config, store, rooms.clients, rooms.installation)
        done = rooms.background.pick_up(_key(obj), "accept", work)
        if done is None:
            return None
        await finishing.guard(obj, run, rooms)
        return done[0]

    async def _ask(self, config: StoreConfig, question: Callable[[], T]) -> T:
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

    async def _config(self, obj: Mapping[str, Any], run: MSMRun) -> StoreConfig:
        """Where the run's artifacts lie."""
        secret = await self._store_secret(obj, run)
        installation = self.rooms.installation
        return config_for(run, installation.store, installation.namespaced, secret, None)

    async def _store_secret(self, obj: Mapping[str, Any], run: MSMRun) -> Mapping[str, str] | None:
        """A run's own store credential, which is only ever read in namespaced mode."""
        ref = run.spec.storage.secret_ref if run.spec.storage is not None else None
        if ref is None or not self.rooms.installation.namespaced:
            return None
        found = await self.rooms.get(SECRETS, Key(obj["metadata"]["namespace"], ref.name))
        if found is None:
            raise UserError("spec.storage.secretRef", f"there is no Secret {ref.name} in this namespace", "make it")
        return finishing.decoded(found)

    async def _texts(self, obj: Mapping[str, Any], run: MSMRun) -> dict[Any, str]:
        """Contents of the ConfigMaps that a run names; absent ones are left out."""
        found: dict[Any, str] = {}
        for ref in config_maps(run):
            held = await self.rooms.get(CONFIGMAPS, Key(obj["metadata"]["namespace"], ref.name))
            if held is not None and ref.key in (held.get("data") or {}):
                found[ref] = held["data"][ref.key]
        return found

    def _resolving(self, obj: Mapping[str, Any]) -> Outcome:
        """Not accepted yet; said only when it takes a while, to spare a write."""
        memory, monotonic = self._memory(obj), self.rooms.clock.monotonic()
        memory.asked = min(memory.asked, monotonic)
        said_before = find(obj.get("status", {}), ConditionType.ACCEPTED)
        if monotonic - memory.asked < QUIETLY.total_seconds() or (said_before is not None and said_before["status"] == "False"):
            return Outcome(dict(obj.get("status", {})), QUIETLY)
        said = refused(obj["metadata"].get("generation", 0), Reason.RESOLVING, "inputs are being resolved", sure=False)
        return self._plain(obj, said, AGAIN)

    def _refused(self, obj: Mapping[str, Any], reason: Reason, message: str, delay: timedelta | None) -> Outcome:
        """Accepted=False. A run that was accepted before keeps its status, with the trouble in a condition."""
        if obj.get("status", {}).get("plan"):
            return self._unavailable(obj, Reason.REFUSED, message)
        return self._plain(obj, refused(obj["metadata"].get("generation", 0), reason, message), delay)

    def _plain(self, obj: Mapping[str, Any], status: Status, delay: timedelta | None) -> Outcome:
        return Outcome(status.to_dict(obj.get("status", {}), self.rooms.clock.now()), delay)

    def _unavailable(self, obj: Mapping[str, Any], reason: Reason, message: str) -> Outcome:
        """Everything stays as it was said, but for one condition; nothing fails."""
        before, generation = obj.get("status", {}), obj["metadata"].get("generation", 0)
        if not before.get("plan"):
            waiting = refused(generation, Reason.INPUT_UNAVAILABLE, message, sure=False)
            return self._plain(obj, waiting, AGAIN)
        said = conditions(
            [Wanted(ConditionType.STORE_AVAILABLE, "False", reason, message)],
            before.get("conditions", ()),
            generation,
            self.rooms.clock.now(),
        )
        others = [c for c in before.get("conditions", ()) if c["type"] != ConditionType.STORE_AVAILABLE.value]
        return Outcome({**before, "conditions": [*others, *said]}, AGAIN)

    async def _write(self, obj: Mapping[str, Any], outcome: Outcome) -> None:
        """One write when there is something to say, the same in the store, and events after it."""
        rooms, before = self.rooms, obj.get("status", {})
        memory = self._memory(obj)
        if not is_worth_writing(before, outcome.status, rooms.clock.monotonic() - memory.written):
            return
        if outcome.kept is not None:
            await self._keep(*outcome.kept)
        body = {"apiVersion": MSMRUNS.api_version, "kind": MSMRUNS.kind, "metadata": _identity(obj), "status": outcome.status}
        await rooms.writer.apply(MSMRUNS, body, status=True)
        memory.written = rooms.clock.monotonic()
        for event in events(before, outcome.status):
            await rooms.writer.event(obj, event.type, event.reason, event.action, event.note)

    async def _keep(self, documents: Documents, status: RunStatus) -> None:
        """The status in the store; when that does not answer, the next transition writes it."""
        try:
            await self.rooms.background.ask(partial(keep_status, documents, status))
        except MSMError as error:
            log.warning("runs/%s/status.json is not written: %s", documents.id, error)

    def _memory(self, obj: Mapping[str, Any]) -> Memory:
        """What is remembered of this very object, not of an earlier one of its name."""
        key, uid = _key(obj), obj["metadata"]["uid"]
        if self.memories.get(key, ("", None))[0] != uid:
            self.memories[key] = (uid, Memory())
        return self.memories[key][1]

    def _forget(self, key: Key) -> None:
        """A run that is gone, or needs no more passes."""
        if key in self.memories:
            self.rooms.background.forget(key)
            self.documents.pop(self.memories.pop(key)[0], None)


def _key(obj: Mapping[str, Any]) -> Key:
    return Key(obj["metadata"]["namespace"], obj["metadata"]["name"])


def _identity(obj: Mapping[str, Any]) -> dict[str, str]:
    return {name: obj["metadata"][name] for name in ("name", "namespace", "uid")}


def _reason(error: UserError) -> Reason:
    return Reason.LOCAL_INPUT if "laptop" in error.problem else Reason.INVALID_SPEC
