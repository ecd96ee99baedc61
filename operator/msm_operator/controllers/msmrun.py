"""The MSMRun controller: a pass brings one run one step on.

Read caches, observe the store, decide, apply children, write the status once, tell. Neighbours: `accept`, `look`, `decide_stages` and
`summary` do the parts; `runtime.controller` calls `reconcile`. Invariants: level-based, so that a pass may be lost, repeated or late;
children are applied before the status that speaks of them; a status that says nothing new is not written; whatever is down outside is a
condition.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from msm.api import MSMRun
from msm.errors import MSMError, TryAgain, UserError
from msm.local.status import Phase, RunStatus
from msm_operator.controllers import conclude, finishing
from msm_operator.controllers.accept import parse
from msm_operator.controllers.admission import Admission
from msm_operator.controllers.children import act
from msm_operator.controllers.decide_stages import Decision, RunPhase, decide
from msm_operator.controllers.documents import Documents, keep_status
from msm_operator.controllers.look import POLL_SECONDS, Asked, Memory, is_idle, look
from msm_operator.controllers.observe import observe
from msm_operator.controllers.observed import Observed, Policy
from msm_operator.controllers.rooms import Rooms
from msm_operator.controllers.showing import asked_of, config_of, tracking_condition
from msm_operator.controllers.summary import Outside, refused, resource_status, run_status
from msm_operator.runtime.cache import key_of
from msm_operator.runtime.errors import ApiError
from msm_operator.runtime.resources import MSMRUNS
from msm_operator.runtime.seams import Key
from msm_operator.status.changes import events, is_worth_writing
from msm_operator.status.conditions import Wanted, conditions, find, moment
from msm_operator.status.model import Status
from msm_operator.status.reasons import ConditionType, Reason

log = logging.getLogger(__name__)
AGAIN = timedelta(seconds=10)
LATER = timedelta(seconds=60)
QUIETLY = timedelta(seconds=2)


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
    admission: Admission = field(init=False)

    def __post_init__(self) -> None:
        self.admission = Admission(self.rooms)

    async def reconcile(self, key: Key) -> timedelta | None:
        """Bring a run one step on."""
        obj = self.rooms.caches.runs.get(key)
        if obj is None or finishing.is_over(obj):
            self._forget(key)
        if obj is None:
            return None
        if "deletionTimestamp" in obj["metadata"]:
            return await finishing.finalize(obj, self.rooms, partial(self.admission.config, obj))
        if finishing.is_over(obj):
            return await finishing.afterwards(obj, self.rooms, partial(self.admission.frozen, obj))
        if finishing.is_at_rest(obj, self.rooms.caches):
            return None
        outcome = await self._outcome(obj)
        await self._write(obj, outcome)
        return outcome.delay

    async def _outcome(self, obj: Mapping[str, Any]) -> Outcome:
        """A pass; whatever a run or the outside does wrong becomes a status."""
        try:
            run = self._parsed(obj)
        except UserError as error:
            return self._refused(obj, _reason(error), str(error), None)
        try:
            documents = await self.admission.documents(obj, run)
            return self._resolving(obj) if documents is None else await self._advance(obj, run, documents)
        except UserError as error:
            return self._refused(obj, _reason(error), str(error), LATER)
        except TryAgain as error:
            return self._unavailable(obj, Reason.UNREACHABLE, str(error))
        except ApiError:
            raise
        except MSMError as error:
            return self._unavailable(obj, Reason.DAMAGED, str(error))

    def _parsed(self, obj: Mapping[str, Any]) -> MSMRun:
        """The run, parsed once a generation."""
        memory, generation = self._memory(obj), obj["metadata"].get("generation", 0)
        if memory.parsed is None or memory.parsed[0] != generation:
            memory.parsed = (generation, parse(obj))
        return memory.parsed[1]

    async def _advance(self, obj: Mapping[str, Any], run: MSMRun, documents: Documents) -> Outcome:
        """Observe, decide, act; returns what to say of it."""
        rooms, now = self.rooms, self.rooms.clock.now()
        memory = self._memory(obj)
        policy, monotonic = Policy.of(run), rooms.clock.monotonic()
        observed = observe(obj, policy, documents, memory, rooms.caches, rooms.installed, now, monotonic)
        if not is_idle(observed, memory, rooms.clock):
            made = moment(obj["metadata"].get("creationTimestamp")) or now
            asking = partial(look, observed, memory, Asked(documents.store, documents.id, made), rooms.clock)
            observed = await self.admission.ask(documents.config, asking)
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
        key = key_of(obj)
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
        return Outside(tracking_condition(obj, documents, self.rooms.installation, config, self.rooms.tracker), results, concluded, note)

    def _delay(self, decision: Decision, outside: Outside, now: datetime) -> timedelta | None:
        """When to look again by ourselves: the next retry, or the next poll; events come in between."""
        if decision.phase is RunPhase.SUSPENDED or outside.concluded or decision.phase is RunPhase.FAILED:
            return None
        poll = timedelta(seconds=POLL_SECONDS * self.rooms.rng.uniform(0.9, 1.1))
        due = decision.wake - now if decision.wake is not None else poll
        return max(timedelta(seconds=0.2), min(poll, due))

    def _resolving(self, obj: Mapping[str, Any]) -> Outcome:
        """Not accepted yet; said only when it takes a while, to spare a write."""
        memory, monotonic = self._memory(obj), self.rooms.clock.monotonic()
        memory.asked = min(memory.asked, monotonic)
        has_word = find(obj.get("status", {}), ConditionType.ACCEPTED) is not None
        if monotonic - memory.asked < QUIETLY.total_seconds() or has_word:
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
        key, uid = key_of(obj), obj["metadata"]["uid"]
        if self.memories.get(key, ("", None))[0] != uid:
            self.memories[key] = (uid, Memory())
        return self.memories[key][1]

    def _forget(self, key: Key) -> None:
        """A run that is gone, or needs no more passes."""
        if key in self.memories:
            self.rooms.background.forget(key)
            self.admission.forget(self.memories.pop(key)[0])


def _identity(obj: Mapping[str, Any]) -> dict[str, str]:
    return {name: obj["metadata"][name] for name in ("name", "namespace", "uid")}


def _reason(error: UserError) -> Reason:
    return Reason.LOCAL_INPUT if "laptop" in error.problem else Reason.INVALID_SPEC
