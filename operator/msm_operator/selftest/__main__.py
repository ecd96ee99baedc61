"""`python -m msm_operator.selftest [--kubeconfig FILE]`: exits 0 when a tiny run has succeeded, else says what its conditions say.

Neighbours: `charts/msm/templates/test.yaml` runs it. Invariant: what it made is removed, however it ends.
"""

import argparse
import asyncio
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msm.clock import Clock, SystemClock
from msm.errors import MSMError, UserError
from msm.store import ObjectStore, StoreConfig, open_store
from msm_operator.runtime.api import Api
from msm_operator.runtime.connection import Connection, configuration
from msm_operator.runtime.errors import NotFound
from msm_operator.runtime.metrics import Metrics
from msm_operator.runtime.resources import MSMRUNS
from msm_operator.runtime.seams import Key
from msm_operator.selftest.model import files
from msm_operator.selftest.run import run

PAUSE = 3.0
LEAVE = 90.0
"""Seconds in which a deleted run is to be gone."""


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Test; the exit code."""
    parser = argparse.ArgumentParser(prog="msm-selftest", description="Gives the cluster a tiny run and waits until it has succeeded.")
    parser.add_argument("--kubeconfig", type=Path, help="default: the pod's ServiceAccount")
    chosen = parser.parse_args(arguments)
    try:
        return asyncio.run(_test(chosen.kubeconfig, environ, SystemClock()))
    except MSMError as error:
        print(f"failed: {error}", flush=True)
        return 1


async def _test(kubeconfig: Path | None, environ: Mapping[str, str], clock: Clock) -> int:
    namespace, seconds = environ.get("MSM_TEST_NAMESPACE", ""), float(environ.get("MSM_TEST_SECONDS", "1500"))
    if not namespace:
        raise UserError("MSM_TEST_NAMESPACE", "is not set", "set it to the namespace of the test's run")
    config = StoreConfig.from_environ(environ)
    mark = secrets.token_hex(4)
    name, place = f"helm-test-{mark}", f"selftest/{mark}"
    store = await asyncio.to_thread(open_store, config)
    connection = Connection(await configuration(kubeconfig), Metrics(), "selftest")
    try:
        await asyncio.to_thread(_upload, store, place, int(mark, 16))
        key = Key(namespace, name)
        return await _follow(Api(connection), key, run(name, namespace, f"{store.uri}/{place}"), seconds, clock)
    finally:
        await asyncio.to_thread(_remove, store, place)
        await connection.close()


def _upload(store: ObjectStore, place: str, seed: int) -> None:
    for name, content in files(seed).items():
        store.put(f"{place}/{name}", content)


def _remove(store: ObjectStore, place: str) -> None:
    for found in list(store.list(f"{place}/")):
        store.delete(found.key)


async def _follow(api: Api, key: Key, body: Mapping[str, Any], seconds: float, clock: Clock) -> int:
    """Create the run, tell its steps, and delete it; whether it succeeded as an exit code."""
    await api.create(MSMRUNS, body)
    print(f"run {key.name} in namespace {key.namespace}", flush=True)
    try:
        return await _until_over(api, key, seconds, clock)
    finally:
        await _delete(api, key, clock)


async def _until_over(api: Api, key: Key, seconds: float, clock: Clock) -> int:
    until, last = clock.monotonic() + seconds, ""
    while clock.monotonic() < until:
        status = (await api.get(MSMRUNS, key)).get("status", {})
        said = summary(status)
        if said != last:
            print(said, flush=True)
            last = said
        for name, code in (("Succeeded", 0), ("Failed", 1)):
            if _is_true(status, name):
                print("\n".join([name, *(troubles(status) if code else ())]), flush=True)
                return code
        if _refused(status):
            print("\n".join(troubles(status)), flush=True)
            return 1
        await asyncio.sleep(PAUSE)
    status = (await api.get(MSMRUNS, key)).get("status", {})
    print("\n".join([f"not over after {seconds:.0f} s", *troubles(status)]), flush=True)
    return 1


def summary(status: Mapping[str, Any]) -> str:
    """How far a run is, in one line."""
    plan = status.get("plan", {})
    if not plan:
        return "waiting for the operator to accept it"
    return f"{plan.get('done', 0)} of {plan.get('total', '?')} stages done; {status.get('stage') or 'nothing'} at work"


def troubles(status: Mapping[str, Any]) -> Iterator[str]:
    """What a status says is the matter."""
    conditions = status.get("conditions") or ()
    if not conditions:
        yield "no condition at all: is the operator running? kubectl get deployment msm-operator"
    for one in conditions:
        yield f"  {one['type']}={one['status']} ({one.get('reason', '')}): {one.get('message', '')}"
    for row in status.get("stages") or ():
        if row.get("reason"):
            yield f"  stage {row.get('name')}: {row['reason']}: {row.get('message', '')}"


def _is_true(status: Mapping[str, Any], name: str) -> bool:
    return any(c["type"] == name and c["status"] == "True" for c in status.get("conditions") or ())


def _refused(status: Mapping[str, Any]) -> bool:
    """Whether the operator does not accept it; said for good."""
    return any(c["type"] == "Accepted" and c["status"] == "False" for c in status.get("conditions") or ())


async def _delete(api: Api, key: Key, clock: Clock) -> None:
    """Delete the run and wait until it is gone, so that its model is not taken from under it."""
    until = clock.monotonic() + LEAVE
    try:
        await api.delete(MSMRUNS, key)
        while clock.monotonic() < until:
            await api.get(MSMRUNS, key)
            await asyncio.sleep(PAUSE)
    except NotFound:
        return
    print(f"run {key.name} is still there {LEAVE:.0f} s after it was deleted", flush=True)


if __name__ == "__main__":
    sys.exit(main())
