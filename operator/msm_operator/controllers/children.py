"""Make the cluster what a decision says: endpoints, new attempts, and the end of those that no longer count.

Neighbours: `decide_stages` decided, `attempts` and `backends.serving` render. Invariants: every write may be repeated; an attempt that the
API server refuses ends as the user's mistake with the server's words, one that cannot be made now is tried again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from msm.api.inputs import Serve
from msm.errors import UserError
from msm.local.status import State
from msm.plan.decide import Ending
from msm_operator.backends.jobs import resource_of
from msm_operator.backends.names import endpoint_name
from msm_operator.backends.serving import PARTS, Served, base_url, bodies
from msm_operator.backends.weights import Weights
from msm_operator.controllers import arms
from msm_operator.controllers.attempts import attempt
from msm_operator.controllers.credentials import access
from msm_operator.controllers.decide_stages import Decision, View
from msm_operator.controllers.documents import Documents
from msm_operator.controllers.observed import Observed, served_endpoints
from msm_operator.controllers.queues import without_queue
from msm_operator.controllers.rooms import Rooms
from msm_operator.controllers.walls import around_run, wall_in
from msm_operator.runtime.errors import Conflict, Forbidden, Invalid, NotFound
from msm_operator.runtime.seams import Key
from msm_operator.status.history import Ended
from msm_operator.status.reasons import Reason


async def act(
    obj: Mapping[str, Any], documents: Documents, observed: Observed, decision: Decision, rooms: Rooms, now: datetime
) -> Decision:
    """Apply and delete; returns the decision as it came out."""
    refused = await _wall_in(obj, documents, decision, rooms)
    lacking = await without_queue(documents.run, documents.cluster.namespace, rooms.get) if decision.starts else ""
    if refused or lacking:
        decision = _kept_back(decision, Reason.REFUSED if refused else Reason.NOT_INSTALLED, refused or lacking)
    if not refused:
        await _serve(obj, documents, observed, decision, rooms)
    for child in decision.stops:
        await rooms.writer.delete(child.resource, Key(documents.cluster.namespace, child.name), uid=child.uid)
    came_out = {view.stage.fingerprint: await _start(obj, documents, view, rooms, now) for view in decision.starts}
    views = tuple(came_out.get(view.stage.fingerprint, view) for view in decision.views)
    return replace(decision, views=views)


async def _wall_in(obj: Mapping[str, Any], documents: Documents, decision: Decision, rooms: Rooms) -> str:
    """Have the run's wall stand before it has pods; why it cannot, mostly nothing."""
    if not decision.starts and not decision.endpoints:
        return ""
    return await wall_in(around_run(obj, documents.run, documents.config, rooms.installation), rooms)


def _kept_back(decision: Decision, reason: Reason, why: str) -> Decision:
    """Nothing is started, and why is said of what was to start."""
    held = {view.stage.fingerprint: _held(view, reason, why) for view in decision.starts}
    return replace(decision, starts=(), views=tuple(held.get(view.stage.fingerprint, view) for view in decision.views))


async def _start(obj: Mapping[str, Any], documents: Documents, view: View, rooms: Rooms, now: datetime) -> View:
    """Make an attempt's object; the view of its stage after that."""
    number = view.history.active
    try:
        body = attempt(obj, documents, view.stage, number, _addresses(documents, view, rooms), rooms.installation)
        await rooms.writer.apply(resource_of(view.stage.kind), body)
    except (UserError, Invalid) as error:
        end = Ended(Ending.USER_ERROR, Reason.INVALID_INPUT, str(error), now)
        return replace(
            view, state=State.FAILED, reason=Reason.INVALID_INPUT, message=str(error), history=view.history.with_ending(number, end, 0)
        )
    except NotFound as error:
        return _held(view, Reason.NOT_INSTALLED, str(error))
    except Forbidden as error:
        return _held(view, Reason.REFUSED, str(error))
    return view


def _held(view: View, reason: Reason, message: str) -> View:
    """A stage whose object could not be made: nothing was started, and it is tried again."""
    return replace(view, state=State.WAITING, reason=reason, message=message, history=replace(view.history, active=0))


def _addresses(documents: Documents, view: View, rooms: Rooms) -> dict[str, str]:
    where = documents.cluster
    names = {name: endpoint_name(where.name, where.uid, name, where.namespace) for name in served_endpoints(view.stage)}
    return {
        name: base_url(rooms.caches.services.get(Key(where.namespace, service)), service, where.namespace)
        for name, service in names.items()
    }


async def _serve(obj: Mapping[str, Any], documents: Documents, observed: Observed, decision: Decision, rooms: Rooms) -> None:
    """Make the endpoints that are wanted and not there, remove those that are there and not wanted."""
    for name in sorted(decision.endpoints):
        if name not in observed.endpoints or not observed.endpoints[name].exists:
            served = await _served(documents, name, rooms)
            installation = replace(rooms.installation, serve_image=documents.cluster.serve_image)
            secret = access(documents.run, documents.config, installation).secret
            for body, resource in zip(bodies(obj, served, installation, secret), PARTS, strict=True):
                await rooms.writer.apply(resource, body)
    await remove(documents, [n for n, e in observed.endpoints.items() if e.exists and n not in decision.endpoints], rooms)


async def remove(documents: Documents, names: Sequence[str], rooms: Rooms) -> None:
    """Remove endpoints, the server first."""
    where = documents.cluster
    for name in names:
        key = Key(where.namespace, endpoint_name(where.name, where.uid, name, where.namespace))
        for resource in reversed(PARTS):
            try:
                await rooms.writer.delete(resource, key, uid=None)
            except (NotFound, Conflict):
                continue


async def _served(documents: Documents, name: str, rooms: Rooms) -> Served:
    """What an endpoint is to serve: a model that the run names, or the arms of an eval."""
    endpoint = next((e for e in documents.run.spec.endpoints if e.name == name), None)
    if endpoint is None:
        stage = next(s for s in documents.plan.stages if name in served_endpoints(s))
        found = await rooms.background.ask(partial(arms.weights, stage, documents.store))
        return Served(name, Serve(model=found.base, gpus=rooms.installation.eval_gpus), found)
    assert endpoint.serve is not None, "only served endpoints are wanted"
    location = documents.plan.resolution.inputs[f"endpoints.{name}"].location
    return Served(name, endpoint.serve, Weights(_storage(location), name))


def _storage(location: str) -> str:
    """A resolved location as KServe writes it: hf://org/name:revision."""
    return location.replace("@", ":") if location.startswith("hf://") else location
