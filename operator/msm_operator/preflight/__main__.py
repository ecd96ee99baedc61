"""`python -m msm_operator.preflight [--kubeconfig FILE]`: looks at everything at once, prints a line for each, exits 1 when one failed.

Neighbours: `charts/msm/templates/preflight.yaml` runs it before an installation or upgrade. Invariant: it ends within its time.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp

from msm.clock import Clock, SystemClock
from msm.errors import UserError
from msm_operator.preflight.findings import CONTROLLERS, Finding, controller_finding, image_findings, verdict
from msm_operator.preflight.outside import secret_findings, store_findings, tracking_findings
from msm_operator.preflight.settings import Settings, settings_of
from msm_operator.runtime.api import Api, Selection
from msm_operator.runtime.connection import CONNECT_S, Connection, configuration
from msm_operator.runtime.errors import ApiError, NotFound
from msm_operator.runtime.metrics import Metrics
from msm_operator.runtime.resources import PODS, Resource

MARK = "modelspec.dev/preflight=images"
PAUSE = 2.0


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Look and tell; the exit code."""
    parser = argparse.ArgumentParser(prog="msm-preflight", description="Looks whether the platform can work in this cluster.")
    parser.add_argument("--kubeconfig", type=Path, help="default: the pod's ServiceAccount")
    chosen = parser.parse_args(arguments)
    try:
        settings = settings_of(environ)
    except UserError as error:
        print(error)
        return int(error.exit_code)
    findings = asyncio.run(look(chosen.kubeconfig, settings, SystemClock()))
    for one in findings:
        print(one)
    print(verdict(findings), flush=True)
    return 1 if any(one.level == "failed" for one in findings) else 0


async def look(kubeconfig: Path | None, settings: Settings, clock: Clock) -> list[Finding]:
    """Everything at once: the slowest decides how long it takes."""
    connection = Connection(await configuration(kubeconfig), Metrics(), "preflight")
    try:
        parts = await asyncio.gather(
            controllers(connection, settings),
            asyncio.to_thread(store_findings, settings, clock),
            asyncio.to_thread(tracking_findings, settings),
            images(Api(connection), settings, clock),
        )
    finally:
        await connection.close()
    return [*(one for part in parts for one in part), *secret_findings(settings)]


async def controllers(connection: Connection, settings: Settings) -> list[Finding]:
    """Which kinds of others are served. Everybody may ask: no right is needed."""
    try:
        served = {name: await _plurals(connection, one.resource) for name, one in CONTROLLERS.items()}
    except ApiError as error:
        return [Finding("failed", "preflight", f"the API server does not say which kinds it serves: {error}")]
    return [controller_finding(name, plurals, settings.required) for name, plurals in served.items()]


async def _plurals(connection: Connection, resource: Resource) -> set[str]:
    path, limits = f"/apis/{resource.api_version}", aiohttp.ClientTimeout(total=30.0, sock_connect=CONNECT_S)
    try:
        async with connection.send("GET", path, query={}, headers={"Accept": "application/json"}, limits=limits) as answer:
            told = await answer.json()
    except NotFound:
        return set()
    return {str(one["name"]) for one in told.get("resources", ())}


async def images(api: Api, settings: Settings, clock: Clock) -> list[Finding]:
    """What the kubelet says of the images, once it says something of each."""
    began, found = clock.monotonic(), list[Finding]()
    while settings.images and len(found) < len(settings.images):
        await asyncio.sleep(PAUSE)
        waited = clock.monotonic() - began
        try:
            page = await api.page(Selection(PODS, settings.namespace, labels=MARK))
        except ApiError as error:
            return [Finding("warning", "preflight.images", f"pods cannot be looked at ({error}); images were not tried")]
        found = image_findings(page.items, settings.images, waited)
    return found


if __name__ == "__main__":
    sys.exit(main())
