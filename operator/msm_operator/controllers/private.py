"""Inputs that the operator may not read: resolved by a Job in the run's namespace, which has the hub's token. The operator has none.

Neighbours: `admission` asks when the hub shows an address to nobody, `msm.local.resolving` is what the pod runs, its answer lies with the
run's records. Invariants: one such Job of a run at a time, under a name that follows from run and number; a suspended run starts none.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from msm.api import MSMRun
from msm.errors import TryAgain, UserError
from msm.local.resolving import RUN_ID, AskedRun, answer, ask
from msm.plan.decide import Ending
from msm.store import ObjectStore, StoreConfig
from msm_operator.backends.children import Child, newest, read_child
from msm_operator.backends.installation import Installation
from msm_operator.backends.jobs import body
from msm_operator.backends.names import ATTEMPT, KIND, STAGE, STAGE_NAME, common_labels, job_name, owner
from msm_operator.backends.pods import Dressing, pod_template, stage_environment
from msm_operator.controllers.accept import Asked, precision, with_texts
from msm_operator.controllers.attempts import SECRET_VARIABLES
from msm_operator.controllers.credentials import access
from msm_operator.controllers.documents import run_id
from msm_operator.controllers.rooms import Rooms
from msm_operator.controllers.walls import around_run, wall_in
from msm_operator.runtime.resources import JOBS
from msm_operator.status.history import Ended

RESOLVE: Final = "resolve"
"""What stands in the labels for a stage and its kind; no fingerprint looks like it."""
PROGRAM: Final = ("-m", "msm.local.resolving")
KEEP_SECONDS: Final = 3600
"""How long an ended Job stays; longer than any pause, so that the last attempt is always there to count on."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=15), timedelta(minutes=10)


async def is_answered(obj: Mapping[str, Any], asked: Asked, config: StoreConfig, store: ObjectStore, rooms: Rooms) -> bool:
    """Whether a pod has resolved the run; starts one where none is at work.

    Raises:
        UserError: the pod found a mistake of the user's; TryAgain: it cannot run, or something outside did not answer it.
    """
    id_, last = run_id(asked.run.metadata.name, asked.uid), _last(obj, rooms)
    if last is not None and last.ended is None:
        if last.trouble is not None:
            raise TryAgain(f"job {last.name}, which resolves private inputs: {last.trouble.reason.value}: {last.trouble.message}")
        return False
    if last is not None and last.ended is not None:
        if await rooms.background.ask(partial(answer, store, id_)) is not None:
            return True
        _wait(last.ended, last.number, rooms.clock.now())
    if not asked.run.spec.suspend:
        question = AskedRun(run=with_texts(asked.run, asked.texts), precision=precision(asked.run, rooms.installation))
        refused = await wall_in(around_run(obj, asked.run, config, rooms.installation), rooms)
        if refused:
            raise TryAgain(refused)
        await rooms.background.ask(partial(ask, store, id_, question))
        await rooms.writer.apply(JOBS, job(obj, asked.run, id_, last.number + 1 if last is not None else 1, config, rooms.installation))
    return False


def _last(obj: Mapping[str, Any], rooms: Rooms) -> Child | None:
    now, uid = rooms.clock.now(), obj["metadata"]["uid"]
    found = [read_child(one, rooms.caches.pods.owned_by(one["metadata"]["uid"]), now) for one in rooms.caches.jobs.owned_by(uid)]
    return newest(child for child in found if child is not None and child.stage == RESOLVE).get(RESOLVE)


def _wait(ended: Ended, number: int, now: datetime) -> None:
    """Nothing, once the pause after an attempt is over.

    Raises:
        UserError, TryAgain: it is not; by what the attempt said.
    """
    if now >= ended.when + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(number - 1, 10)):
        return
    if ended.ending is Ending.USER_ERROR:
        field, _, problem = ended.message.partition(": ")
        raise UserError(field, problem or "is not usable")
    raise TryAgain(f"resolving private inputs, attempt {number}: {ended.reason.value}: {ended.message}")


def job(obj: Mapping[str, Any], run: MSMRun, id_: str, number: int, config: StoreConfig, installation: Installation) -> dict[str, Any]:
    """The Job of an attempt."""
    from torchx.specs import AppDef, Resource, Role

    reach = access(run, config, installation)
    plain = {name: value for name, value in config.to_environ().items() if name not in SECRET_VARIABLES}
    environment = {**stage_environment(plain, reach, installation), RUN_ID: id_}
    if installation.tracking_uri is not None:
        environment["MLFLOW_TRACKING_URI"] = installation.tracking_uri
    size = Resource(cpu=-1, gpu=-1, memMB=-1)
    role = Role(RESOLVE, installation.image, entrypoint=installation.interpreter, args=list(PROGRAM), env=environment, resource=size)
    labels = {**common_labels(obj), STAGE: RESOLVE, KIND: RESOLVE, ATTEMPT: str(number)}
    told = {STAGE_NAME: "resolve private inputs"}
    secrets = {"HF_TOKEN": (installation.hub_secret, "token")} if installation.hub_secret is not None else {}
    metadata = {
        "name": job_name(obj["metadata"]["name"], obj["metadata"]["uid"], RESOLVE, RESOLVE, number),
        "namespace": obj["metadata"]["namespace"],
        "labels": labels,
        "annotations": told,
        "ownerReferences": [owner(obj)],
    }
    app = AppDef(RESOLVE, roles=[role])
    found = body(app, pod_template(app, Dressing(labels, told, reach, secrets), installation), metadata, None)
    return {**found, "spec": {**found["spec"], "ttlSecondsAfterFinished": KEEP_SECONDS}}
