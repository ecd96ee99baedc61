"""Walls are up before the first pod is: of a run, and of an EvalDeployment.

Neighbours: `backends.walls` renders; both controllers call before they make anything that becomes a pod. Invariants: without its wall
nothing is started; a wall is applied once by a process, and again when what it says changes (an upgrade with other `egress` values).
Cost: one write a run and process.
"""

import json
from collections.abc import Mapping, MutableMapping
from hashlib import sha256
from typing import Any, Protocol

from msm.api import MSMRun
from msm.store import StoreConfig
from msm_operator.backends.installation import Installation
from msm_operator.backends.names import RUN_UID, common_labels, owner, wall_name
from msm_operator.backends.walls import Inside, wall
from msm_operator.runtime.errors import Forbidden, Invalid
from msm_operator.runtime.resources import NETWORK_POLICIES
from msm_operator.runtime.seams import Writer

AWS = "https://s3.amazonaws.com"
REMEMBERED = 10_000
"""Walls that a process remembers; when there are more it starts over, which costs one write each."""


class Grounds(Protocol):
    """What a wall is made with: a part of either controller's rooms."""

    @property
    def writer(self) -> Writer:
        """Where it is written."""
        ...

    @property
    def installation(self) -> Installation:
        """What the installation says of the network."""
        ...

    @property
    def walls(self) -> MutableMapping[str, str]:
        """What stands already: uid of the owner -> digest of the policy."""
        ...


async def wall_in(inside: Inside, grounds: Grounds) -> str:
    """Have the wall stand; what the API server has against it, mostly nothing."""
    if grounds.installation.network is None:
        return ""
    body, uid = wall(inside, grounds.installation.network), str(inside.owner["uid"])
    digest = sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    if grounds.walls.get(uid) == digest:
        return ""
    try:
        await grounds.writer.apply(NETWORK_POLICIES, body)
    except (Invalid, Forbidden) as error:
        return (
            f"no NetworkPolicy could be made, so nothing is started; check networkPolicy.egress and networkPolicy.dns of the chart: {error}"
        )
    if len(grounds.walls) >= REMEMBERED:
        grounds.walls.clear()
    grounds.walls[uid] = digest
    return ""


def around_run(obj: Mapping[str, Any], run: MSMRun, config: StoreConfig, installation: Installation) -> Inside:
    """A run's wall: its store, its MLflow (which resolves `models:/`), the endpoints that it names."""
    metadata = obj["metadata"]
    asked = {e.openai.base_url for e in run.spec.endpoints if e.openai is not None}
    said = run.spec.tracking.uri if run.spec.tracking is not None else None
    tracking = {uri for uri in (said or installation.tracking_uri,) if uri}
    return Inside(
        name=wall_name(metadata["name"], metadata["uid"]),
        namespace=metadata["namespace"],
        mark=(RUN_UID, metadata["uid"]),
        labels=common_labels(obj),
        owner=owner(obj),
        places=frozenset({*asked, *tracking, *store_places(config)}),
    )


def store_places(config: StoreConfig) -> set[str]:
    """Where a store is asked."""
    return {config.endpoint or AWS} if config.uri.startswith("s3://") else set()
