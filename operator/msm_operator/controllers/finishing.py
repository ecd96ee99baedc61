"""The end of a run: what still follows its last transition, its deletion, its time to live.

Neighbours: `msmrun` hands over runs that have ended or are being deleted. Invariants: children go by their owner references, so nothing of
a deletion waits for us but the run's records, and only where `deletionPolicy: Delete` asks for it; that wait is bounded; a shared artifact
is never removed.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from msm.api import MSMRun
from msm.errors import MSMError
from msm.local.records import load_results, load_status
from msm.store import StoreConfig
from msm_operator.backends.names import FINALIZER
from msm_operator.controllers.accept import parse
from msm_operator.controllers.documents import Documents, drop, run_id
from msm_operator.controllers.rooms import Caches, Rooms
from msm_operator.controllers.showing import asked_of, config_of
from msm_operator.runtime.errors import NotLeading
from msm_operator.runtime.resources import MSMRUNS
from msm_operator.runtime.seams import Key
from msm_operator.status.conditions import Wanted, conditions, find, is_true, moment
from msm_operator.status.reasons import ConditionType

log = logging.getLogger(__name__)
PATIENCE = timedelta(minutes=5)
"""How long a deletion waits for a store that does not answer."""
AGAIN = timedelta(seconds=10)


def is_over(obj: Mapping[str, Any]) -> bool:
    """Whether a run has succeeded or failed, for good."""
    status = obj.get("status", {})
    return is_true(status, ConditionType.SUCCEEDED) or is_true(status, ConditionType.FAILED)


def is_at_rest(obj: Mapping[str, Any], caches: Caches) -> bool:
    """Whether a run is suspended, has said so of this very spec, and has nothing in the cluster: no pass could find anything to do.

    So a restart asks the store nothing about the runs that wait for their users.
    """
    status, metadata = obj.get("status", {}), obj["metadata"]
    is_said = is_true(status, ConditionType.SUSPENDED) and status.get("observedGeneration") == metadata.get("generation")
    outside = [find(status, type_) for type_ in (ConditionType.STORE_AVAILABLE, ConditionType.TRACKING_AVAILABLE)]
    if not (is_said and obj["spec"].get("suspend")) or any(c is not None and c["status"] != "True" for c in outside):
        return False
    return not any(cache.owned_by(metadata["uid"]) for cache in (caches.jobs, caches.pytorch_jobs, caches.services))


async def afterwards(obj: Mapping[str, Any], rooms: Rooms, frozen: Callable[[], Awaitable[Documents]]) -> timedelta | None:
    """What follows the end: MLflow shows it, and the resource goes when its time has come."""
    ttl = _time_to_live(obj, rooms)
    if ttl is not None and ttl <= timedelta(0):
        key = Key(obj["metadata"]["namespace"], obj["metadata"]["name"])
        await rooms.writer.delete(MSMRUNS, key, uid=obj["metadata"]["uid"])
        return None
    shown = await _show(obj, rooms, frozen)
    waits = [wait for wait in (ttl, None if shown else timedelta(seconds=60)) if wait is not None]
    return min(waits, default=None)


def _time_to_live(obj: Mapping[str, Any], rooms: Rooms) -> timedelta | None:
    """Until the resource is to be deleted; None for ever."""
    seconds = obj.get("spec", {}).get("ttlSecondsAfterFinished")
    status = obj.get("status", {})
    ended = [c for t in (ConditionType.SUCCEEDED, ConditionType.FAILED) if (c := find(status, t)) is not None and c["status"] == "True"]
    if seconds is None or not ended:
        return None
    since = moment(ended[0].get("lastTransitionTime")) or rooms.clock.now()
    return since + timedelta(seconds=seconds) - rooms.clock.now()


async def _show(obj: Mapping[str, Any], rooms: Rooms, frozen: Callable[[], Awaitable[Documents]]) -> bool:
    """Have MLflow show a run that has ended, until it does; whether there is nothing left to show."""
    said = find(obj.get("status", {}), ConditionType.TRACKING_AVAILABLE)
    tracked = rooms.installation.tracking_uri or obj.get("spec", {}).get("tracking", {}).get("uri")
    if not tracked or (said is not None and said["status"] == "True" and said.get("message")):
        return True
    try:
        documents = await frozen()
        config = config_of(documents, rooms.installation)
        if config is None:
            return True
        kept, results = await rooms.background.ask(
            lambda: (load_status(documents.store, documents.id), load_results(documents.store, documents.id))
        )
        if kept is None:
            return True
        asked = asked_of(documents, kept, None if results is None else results.model_dump(mode="json", by_alias=True))
        rooms.tracker.ask(asked, config)
        wanted = rooms.tracker.condition(documents.id)
    except MSMError as error:
        log.warning("%s is not shown in MLflow yet: %s", obj["metadata"]["name"], error)
        return False
    is_shown = rooms.tracker.is_shown(asked)
    if wanted is not None:
        await _say(obj, rooms, replace(wanted, message=f"MLflow shows run {documents.id}") if is_shown else wanted)
    if is_shown:
        rooms.tracker.forget(documents.id)
    return is_shown


async def _say(obj: Mapping[str, Any], rooms: Rooms, wanted: Wanted) -> None:
    """Write one condition, when it is another than before."""
    before = obj.get("status", {})
    said = conditions([wanted], before.get("conditions", ()), obj["metadata"].get("generation", 0), rooms.clock.now())
    if said[0] == find(before, wanted.type):
        return
    others = [c for c in before.get("conditions", ()) if c["type"] != wanted.type.value]
    metadata = {name: obj["metadata"][name] for name in ("name", "namespace", "uid")}
    status = {**before, "conditions": [*others, *said]}
    await rooms.writer.apply(
        MSMRUNS, {"apiVersion": MSMRUNS.api_version, "kind": MSMRUNS.kind, "metadata": metadata, "status": status}, status=True
    )


async def guard(obj: Mapping[str, Any], run: MSMRun, rooms: Rooms) -> None:
    """Hold a run whose records go with it until they are gone; done before anything is made for it."""
    if run.spec.execution.deletion_policy == "Delete" and FINALIZER not in obj["metadata"].get("finalizers", ()):
        await _finalizers(obj, rooms, [FINALIZER])


async def _finalizers(obj: Mapping[str, Any], rooms: Rooms, finalizers: list[str]) -> None:
    metadata: dict[str, Any] = {name: obj["metadata"][name] for name in ("name", "namespace", "uid")}
    if finalizers:
        metadata["finalizers"] = finalizers
    await rooms.writer.apply(MSMRUNS, {"apiVersion": MSMRUNS.api_version, "kind": MSMRUNS.kind, "metadata": metadata})


async def finalize(obj: Mapping[str, Any], rooms: Rooms, config_of_run: Callable[[MSMRun], Awaitable[StoreConfig]]) -> timedelta | None:
    """Drop the records of a run that is being deleted, then let it go; after a while let it go without."""
    if FINALIZER not in obj["metadata"].get("finalizers", ()):
        return None
    id_ = run_id(obj["metadata"]["name"], obj["metadata"]["uid"])
    try:
        config = await config_of_run(parse(obj))
        await rooms.background.ask(lambda: drop(rooms.stores.open(config), id_))
    except NotLeading:
        raise
    except MSMError as error:
        deleted = moment(obj["metadata"]["deletionTimestamp"]) or rooms.clock.now()
        if rooms.clock.now() - deleted < PATIENCE:
            log.warning("runs/%s/ is not removed yet: %s", id_, error)
            return AGAIN
        await rooms.writer.event(obj, "Warning", "RecordsLeft", "Delete", f"runs/{id_}/ is left in the store: {error}")
    await _finalizers(obj, rooms, [])
    return None
