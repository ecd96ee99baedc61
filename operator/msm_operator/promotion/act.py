"""Make the cluster what a decision says: units, checks, the stable address.

Neighbours: `decide` decided, `serving`, `checks` and `stable` render. Invariants: every write may be repeated; the address moves after the
unit is open to everybody, and never takes a Service that somebody else made; what the API server refuses of a unit refuses the version.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from msm.api.evaldeployment import EvalDeploymentSpec
from msm.errors import UserError
from msm.store import StoreConfig
from msm_operator.backends.names import owner, wall_name
from msm_operator.backends.pods import Access
from msm_operator.backends.serving import PARTS, base_url
from msm_operator.backends.walls import Inside
from msm_operator.controllers.walls import store_places, wall_in
from msm_operator.promotion.checks import job, next_number
from msm_operator.promotion.decide import Decision
from msm_operator.promotion.gather import Gathered, short
from msm_operator.promotion.names import DEPLOYMENT_UID, labels, unit_name
from msm_operator.promotion.observed import CheckKey, Refusal, Unit
from msm_operator.promotion.reasons import Reason
from msm_operator.promotion.rooms import Rooms
from msm_operator.promotion.serving import Wish, unit_bodies
from msm_operator.promotion.stable import is_ours, service
from msm_operator.runtime.errors import Conflict, Invalid, NotFound
from msm_operator.runtime.resources import JOBS, NETWORK_POLICIES, SERVICES
from msm_operator.runtime.seams import Key


@dataclass(frozen=True, slots=True)
class Site:
    """What rendering needs of one EvalDeployment besides the decision."""

    obj: Mapping[str, Any]
    spec: EvalDeploymentSpec
    found: Gathered
    config: StoreConfig
    access: Access
    rooms: Rooms

    @property
    def namespace(self) -> str:
        """Where all of it is."""
        return str(self.obj["metadata"]["namespace"])

    def parts(self, unit: Unit, is_open: bool) -> list[tuple[Any, dict[str, Any]]]:
        """The objects of a unit; none where its artifact is not known."""
        trained = self.found.trained.get(unit.version)
        if trained is None:
            return []
        serving = self.spec.serving
        wish = Wish(serving.replicas, serving.gpus, serving.runtime, is_open)
        return unit_bodies(self.obj, unit, trained.artifact, trained.weights, wish, self.rooms.installation, self.access.secret)


async def act(site: Site, decision: Decision, now: datetime) -> Decision:
    """Apply and delete; returns the decision as it came out.

    Raises:
        UserError: the stable address cannot be had, because somebody else's Service has its name; or no wall can be built.
    """
    if decision.ensure or decision.start is not None:
        await _wall_in(site)
    await _end_checks(site, decision)
    for unit in decision.remove:
        await _remove(site, unit)
    try:
        for unit in decision.ensure:
            for resource, body in site.parts(unit, is_open=unit == site.found.seen.served):
                await site.rooms.writer.apply(resource, body)
    except Invalid as error:
        return _unservable(site, decision, str(error))
    if decision.start is not None:
        await _start(site, decision.start)
    if decision.switch is not None:
        await _switch(site, decision.switch, now)
    return decision


async def _wall_in(site: Site) -> None:
    """Have the wall stand around what serves and what measures."""
    metadata = site.obj["metadata"]
    name, mark = wall_name(metadata["name"], metadata["uid"]), (DEPLOYMENT_UID, metadata["uid"])
    places = frozenset(store_places(site.config))
    refused = await wall_in(Inside(name, site.namespace, mark, labels(site.obj), owner(site.obj), places), site.rooms)
    if refused:
        raise UserError("networkPolicy", refused)


def _unservable(site: Site, decision: Decision, said: str) -> Decision:
    """The API server or KServe takes no such unit: the candidate is refused with its words."""
    if decision.candidate is None:
        raise UserError("spec.serving", f"the cluster refuses what would serve the version: {said}", "change spec.serving")
    version = decision.candidate.version
    refusal = Refusal(version, Reason.NOT_SERVABLE.value, said, site.found.seen.generation)
    message = f"version {version}: {refusal.reason}: {said}"
    return replace(decision, reason=Reason.REFUSED, message=message, refuse=refusal, candidate=None, start=None, switch=None)


async def _remove(site: Site, unit: Unit) -> None:
    """Delete a unit, the server first."""
    key = Key(site.namespace, unit_name(site.obj, unit))
    for resource in reversed(PARTS):
        try:
            await site.rooms.writer.delete(resource, key, uid=None)
        except (NotFound, Conflict):
            continue


async def _start(site: Site, key: CheckKey) -> None:
    """Begin an attempt at a measurement."""
    name = unit_name(site.obj, key.unit)
    address = base_url(site.rooms.caches.services.get(Key(site.namespace, name)), name, site.namespace)
    stage, environment = site.found.stages[key], site.config.to_environ()
    number = next_number(site.found.tried.get(short(stage), ()))
    made = job(site.obj, key, stage, number, address, environment, site.access, site.rooms.installation)
    await site.rooms.writer.apply(JOBS, made)


async def _end_checks(site: Site, decision: Decision) -> None:
    """Stop measurements that nobody waits for any more."""
    found = site.found
    units = {decision.candidate, found.seen.compared} if decision.candidate is not None else set()
    waited = {short(stage) for key, stage in found.stages.items() if key.unit in units}
    for stage, tried in found.tried.items():
        for child in (one.child for one in tried if stage not in waited):
            if child.ended is None and not child.deleting:
                await site.rooms.writer.delete(JOBS, Key(site.namespace, child.name), uid=child.uid)


async def _switch(site: Site, unit: Unit, now: datetime) -> None:
    """Open the unit to the cluster, then point the address at it."""
    for resource, body in site.parts(unit, is_open=True):
        if resource is NETWORK_POLICIES:
            await site.rooms.writer.apply(resource, body)
    stable = site.found.seen.stable
    moved = service(site.obj, unit, site.found.trained[unit.version].artifact, now, stable.unit if stable is not None else None)
    if site.found.pointed is None:
        await _check_name(site, moved["metadata"]["name"])
    await site.rooms.writer.apply(SERVICES, moved)


async def _check_name(site: Site, name: str) -> None:
    there = await site.rooms.get(SERVICES, Key(site.namespace, name))
    if there is not None and not is_ours(there, site.obj["metadata"]["uid"]):
        raise UserError("metadata.name", f"there is a Service {name} already, made by somebody else", "delete it, or use another name")
