"""The EvalDeployment controller: a pass brings one of them one step on.

Ask MLflow, read caches, look into the store, decide, act, write the status once, tell. Neighbours: `gather`, `decide` and `act` do the
parts; `runtime.controller` calls `reconcile`. Invariants: level-based; a refusal is written before the refused unit goes; whatever is down
outside is a condition and changes nothing else; the operator holds no state that a restart would lose.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from msm.api import MSMRun
from msm.api.evaldeployment import EvalDeployment
from msm.errors import MSMError, TryAgain, UserError
from msm.store import ObjectStore, StoreConfig
from msm_operator.controllers.credentials import access, check_tracking, store_config
from msm_operator.promotion import gather, stable
from msm_operator.promotion.act import Site, act
from msm_operator.promotion.aliases import Answer
from msm_operator.promotion.checks import Asked
from msm_operator.promotion.decide import Decision, decide
from msm_operator.promotion.gather import Gathered, Memory
from msm_operator.promotion.reasons import ConditionType, Reason
from msm_operator.promotion.rooms import Rooms
from msm_operator.promotion.spec import as_run, keep_items, parse, tracking_of
from msm_operator.promotion.status import Wanted, conditions, events, refusals, refused_rows, score_rows
from msm_operator.runtime.errors import ApiError, Forbidden
from msm_operator.runtime.resources import EVALDEPLOYMENTS
from msm_operator.runtime.seams import Key

log = logging.getLogger(__name__)
T = TypeVar("T")
POLL = timedelta(seconds=30)
"""Between two looks at the alias."""
SOON = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass came to: the status to apply, and when to look again."""

    status: dict[str, Any]
    delay: timedelta


@dataclass(slots=True)
class EvalDeploymentReconciler:
    """One controller. What it remembers between passes is for speed alone."""

    rooms: Rooms
    poll: timedelta = POLL
    memories: dict[Key, tuple[str, Memory]] = field(default_factory=dict)

    async def reconcile(self, key: Key) -> timedelta | None:
        """Bring an EvalDeployment one step on."""
        obj = self.rooms.caches.deployments.get(key)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            self.memories.pop(key, None)
            self.rooms.background.forget(key)
            return None
        outcome = await self._outcome(obj)
        await self._write(obj, outcome.status)
        return outcome.delay

    async def _outcome(self, obj: Mapping[str, Any]) -> Outcome:
        """A pass; whatever the spec or the outside does wrong becomes a condition."""
        try:
            found = parse(obj)
            run = as_run(found)
            answer = await self._ask(run, found)
        except UserError as error:
            return self._said(obj, [Wanted(ConditionType.READY, self._ready(obj), Reason.INVALID_SPEC, str(error))], self.poll)
        tracking = _tracking(answer)
        try:
            return await self._advance(obj, found, run, answer, tracking)
        except UserError as error:
            reason = Reason.NAME_TAKEN if error.field == "metadata.name" else Reason.INVALID_SPEC
            return self._said(obj, [Wanted(ConditionType.READY, self._ready(obj), reason, str(error)), tracking], self.poll)
        except TryAgain as error:
            return self._said(obj, [_store("False", Reason.UNREACHABLE, str(error)), tracking], SOON)
        except Forbidden as error:
            return self._said(obj, [Wanted(ConditionType.SERVING_AVAILABLE, "False", Reason.DENIED, str(error)), tracking], self.poll)
        except ApiError:
            raise
        except MSMError as error:
            return self._said(obj, [_store("False", Reason.DAMAGED, str(error)), tracking], self.poll)

    async def _ask(self, run: MSMRun, found: EvalDeployment) -> Answer:
        check_tracking(run, self.rooms.installation)
        config = tracking_of(run, self.rooms.installation)
        if config is None:
            return Answer(error=MSMError("neither spec.tracking nor the installation names an MLflow"))
        return await self.rooms.aliases.ask(config, found.spec.model, found.spec.alias)

    async def _advance(self, obj: Mapping[str, Any], found: EvalDeployment, run: MSMRun, answer: Answer, tracking: Wanted) -> Outcome:
        """Observe, decide, act; returns what to say of it."""
        rooms, now = self.rooms, self.rooms.clock.now()
        config = await self._config(obj, run)
        store = await rooms.background.ask(lambda: self._asked(config, lambda store: store))
        evals = await self._evals(obj, found, config, store)
        if evals is None:
            return self._said(obj, [tracking], SOON)
        cached = gather.from_caches(obj, found.spec, answer, rooms, now)
        wanted = gather.wanted_artifacts(obj, cached, answer, rooms)
        memory = self._memory(obj)
        visit = partial(gather.visit_store, obj, found.spec, cached, wanted, evals, memory=memory, rooms=rooms, now=now)
        gathered = await rooms.background.ask(lambda: self._asked(config, visit))
        site = Site(obj, found.spec, gathered, config, access(run, config, rooms.installation), rooms)
        decision = await act(site, decide(gathered.seen, now), now)
        return Outcome(self._status(obj, gathered, decision, tracking, now), _delay(decision, self.poll, now))

    def _asked(self, config: StoreConfig, question: Callable[[ObjectStore], T]) -> T:
        """What a store answers; one that was silent a moment ago is not asked. Blocking."""
        stores = self.rooms.stores
        stores.check(config)
        try:
            return question(stores.open(config))
        except TryAgain as error:
            stores.silent(config, str(error))
            raise

    async def _config(self, obj: Mapping[str, Any], run: MSMRun) -> StoreConfig:
        """Where versions lie; a secret of its own is only ever read in namespaced mode."""
        return await store_config(obj, run, self.rooms.get, self.rooms.installation, self.rooms.cache_directory)

    async def _evals(
        self, obj: Mapping[str, Any], found: EvalDeployment, config: StoreConfig, store: ObjectStore
    ) -> tuple[Asked, ...] | None:
        """The evals with their items, resolved once a generation in a thread; None until that is done."""
        memory, generation = self._memory(obj), obj["metadata"].get("generation", 0)
        if generation not in memory.evals:
            work = partial(keep_items, found.spec, self.rooms.clients(config), store)
            done = self.rooms.background.pick_up(_key(obj), f"items {generation}", work)
            if done is None:
                return None
            memory.evals = {generation: done[0]}
        return memory.evals[generation]

    def _status(self, obj: Mapping[str, Any], gathered: Gathered, decision: Decision, tracking: Wanted, now: datetime) -> dict[str, Any]:
        """All of the status; what it does not mention is removed by applying it."""
        before, seen = obj.get("status") or {}, gathered.seen
        served = decision.switch or seen.served
        status: dict[str, Any] = {"observedGeneration": seen.generation}
        if served is not None:
            status |= {"version": served.version, "url": stable.address(obj)}
        if decision.candidate is not None and decision.switch is None:
            status["candidateVersion"] = decision.candidate.version
        if gathered.rows and decision.switch is None:
            status["scores"] = score_rows(gathered.rows)
        refused = refused_rows(refusals(before), decision.refuse, served.version if served is not None else None)
        if refused:
            status["refused"] = refused
        wanted = [_ready(seen, decision), _promoting(decision), tracking, _serving(seen.serving), _store("True", Reason.REACHABLE)]
        return {**status, "conditions": conditions(wanted, before, seen.generation, now)}

    def _said(self, obj: Mapping[str, Any], wanted: list[Wanted], delay: timedelta) -> Outcome:
        """Everything stays as it was said, but for some conditions."""
        before, generation = obj.get("status") or {}, obj["metadata"].get("generation", 0)
        said = conditions(wanted, before, generation, self.rooms.clock.now())
        return Outcome({**before, "observedGeneration": generation, "conditions": said}, delay)

    def _ready(self, obj: Mapping[str, Any]) -> Any:
        """Whether it was ready before: a mistake in the spec does not stop what is served."""
        said = {c["type"]: c["status"] for c in (obj.get("status") or {}).get("conditions") or ()}
        return said.get(ConditionType.READY.value, "False")

    async def _write(self, obj: Mapping[str, Any], status: dict[str, Any]) -> None:
        """One write when there is something to say, and events after it."""
        before = obj.get("status") or {}
        if before == status:
            return
        metadata = {name: obj["metadata"][name] for name in ("name", "namespace", "uid")}
        body = {"apiVersion": EVALDEPLOYMENTS.api_version, "kind": EVALDEPLOYMENTS.kind, "metadata": metadata, "status": status}
        await self.rooms.writer.apply(EVALDEPLOYMENTS, body, status=True)
        for event in events(before, status):
            await self.rooms.writer.event(obj, event.type, event.reason, event.action, event.note)

    def _memory(self, obj: Mapping[str, Any]) -> Memory:
        """What is remembered of this very object, not of an earlier one of its name."""
        uid, key = obj["metadata"]["uid"], _key(obj)
        if key not in self.memories or self.memories[key][0] != uid:
            self.memories[key] = (uid, Memory())
        return self.memories[key][1]


def _key(obj: Mapping[str, Any]) -> Key:
    return Key(obj["metadata"]["namespace"], obj["metadata"]["name"])


def _delay(decision: Decision, poll: timedelta, now: datetime) -> timedelta:
    """Until the alias is due, or what the decision waits for."""
    due = decision.again - now if decision.again is not None else poll
    return max(timedelta(0), min(poll, due))


def _tracking(answer: Answer) -> Wanted:
    if answer.error is None:
        return Wanted(ConditionType.TRACKING_AVAILABLE, "True", Reason.REACHABLE)
    if isinstance(answer.error, TryAgain):
        reason = Reason.UNREACHABLE
    else:
        reason = Reason.DENIED if isinstance(answer.error, UserError) else Reason.NOT_CONFIGURED
    return Wanted(ConditionType.TRACKING_AVAILABLE, "False", reason, f"{answer.error}; what is served stays, and no version is switched to")


def _serving(installed: bool) -> Wanted:
    if installed:
        return Wanted(ConditionType.SERVING_AVAILABLE, "True", Reason.REACHABLE)
    return Wanted(ConditionType.SERVING_AVAILABLE, "False", Reason.NOT_INSTALLED, "the cluster has no InferenceService; install KServe")


def _store(status: Any, reason: Reason, message: str = "") -> Wanted:
    return Wanted(ConditionType.STORE_AVAILABLE, status, reason, message)


def _ready(seen: Any, decision: Decision) -> Wanted:
    served = decision.switch or seen.served
    if served is None:
        return Wanted(ConditionType.READY, "False", Reason.NOTHING_SERVED, decision.message)
    view = seen.units.get(served)
    if view is not None and view.ready:
        return Wanted(ConditionType.READY, "True", Reason.SERVING, f"version {served.version}")
    return Wanted(ConditionType.READY, "False", Reason.PODS_NOT_READY, view.why if view is not None else "its pods are being made again")


def _promoting(decision: Decision) -> Wanted:
    return Wanted(ConditionType.PROMOTING, "True" if decision.candidate is not None else "False", decision.reason, decision.message)
