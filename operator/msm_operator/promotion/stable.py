"""The stable address: a Service of our own that selects the pods of one unit, and remembers which.

Pure. Neighbours: the controller applies what this renders when a decision says so. Invariant: the Service is the truth of what is served;
its annotations say the rest, so a lost status write or a restart changes nothing. Moving it is one write: existing connections end with
their pods, new ones go to the new version.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msm_operator.backends.names import owner
from msm_operator.backends.serving import PORT
from msm_operator.promotion.names import ARTIFACT, PREVIOUS, SINCE, VARIANT, VERSION, labels, service_name, unit_name
from msm_operator.promotion.observed import Stable, Unit
from msm_operator.promotion.serving import SELECTED
from msm_operator.runtime.resources import SERVICES
from msm_operator.status.conditions import moment, stamp


@dataclass(frozen=True, slots=True)
class Pointed:
    """Where the Service points, and at which trained artifact."""

    stable: Stable
    artifact: str


def service(obj: Mapping[str, Any], unit: Unit, artifact: str, since: datetime, previous: Unit | None) -> dict[str, Any]:
    """The Service, pointing at a unit."""
    metadata = obj["metadata"]
    annotations = {VERSION: unit.version, VARIANT: unit.variant, SINCE: stamp(since), ARTIFACT: artifact}
    if previous is not None:
        annotations[PREVIOUS] = f"{previous.version}.{previous.variant}"
    return {
        "apiVersion": SERVICES.api_version,
        "kind": SERVICES.kind,
        "metadata": {
            "name": service_name(metadata["name"]),
            "namespace": metadata["namespace"],
            "labels": labels(obj),
            "annotations": annotations,
            "ownerReferences": [owner(obj)],
        },
        "spec": {
            "type": "ClusterIP",
            "selector": {SELECTED: unit_name(obj, unit)},
            "ports": [{"name": "http", "port": 80, "targetPort": PORT, "protocol": "TCP"}],
        },
    }


def read(found: Mapping[str, Any] | None, uid: str) -> Pointed | None:
    """Where our Service points; None where there is none of ours."""
    if found is None or not is_ours(found, uid):
        return None
    said = found["metadata"].get("annotations") or {}
    since = moment(said.get(SINCE))
    if VERSION not in said or VARIANT not in said or since is None:
        return None
    version, _, variant = said.get(PREVIOUS, "").partition(".")
    previous = Unit(version, variant) if version and variant else None
    return Pointed(Stable(Unit(said[VERSION], said[VARIANT]), since, previous), said.get(ARTIFACT, ""))


def is_ours(found: Mapping[str, Any], uid: str) -> bool:
    """Whether an object belongs to the EvalDeployment of a uid."""
    return any(reference.get("uid") == uid for reference in found["metadata"].get("ownerReferences") or ())


def address(obj: Mapping[str, Any]) -> str:
    """The stable address, as a client of OpenAI's API writes it."""
    metadata = obj["metadata"]
    return f"http://{service_name(metadata['name'])}.{metadata['namespace']}.svc.cluster.local/v1"
