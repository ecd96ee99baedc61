"""Names and labels of what belongs to an EvalDeployment.

Pure. Neighbours: every renderer and reader here; `backends.names` has those of runs. Invariant: a unit's name is a function of the
resource's uid, the version and the variant; the stable Service is called like the resource.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from msm.api.evaldeployment import EvalDeploymentSpec, Serving
from msm.plan.fingerprint import digest
from msm_operator.backends.names import MANAGED_BY, MANAGER, endpoint_name, label_value
from msm_operator.promotion.observed import Unit

DEPLOYMENT: Final = "modelspec.dev/evaldeployment"
"""Label: name of the EvalDeployment."""
DEPLOYMENT_UID: Final = "modelspec.dev/evaldeployment-uid"
"""Label: uid of the EvalDeployment."""
VERSION: Final = "modelspec.dev/version"
"""Label of a unit and annotation of the Service: version of the registered model."""
VARIANT: Final = "modelspec.dev/variant"
"""Label of a unit and annotation of the Service: what of the spec its pods were made by."""
GENERATION: Final = "modelspec.dev/generation"
"""Label of a check's Job: generation of the spec that asked for it."""
SINCE: Final = "modelspec.dev/since"
"""Annotation of the Service: when it was moved to the version."""
PREVIOUS: Final = "modelspec.dev/previous"
"""Annotation of the Service: version and variant that it served before, as `3.a1b2c3`."""
ARTIFACT: Final = "modelspec.dev/artifact"
"""Annotation of a unit and of the Service: the trained artifact, as `finetune/<fingerprint>`."""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def variant_of(serving: Serving) -> str:
    """A digest of what needs other pods when it changes; the number of pods does not."""
    return digest({"runtime": serving.runtime, "gpus": serving.gpus})[:6]


def unit_name(obj: Mapping[str, Any], unit: Unit) -> str:
    """Name of a unit's InferenceService and of what goes with it."""
    return endpoint_name(obj["metadata"]["name"], obj["metadata"]["uid"], f"v{unit.version}-{unit.variant}")


def service_name(name: str) -> str:
    """Name of the stable Service: the resource's, with a letter in front where a Service's name may not begin so."""
    return name if name[:1].isalpha() else f"m-{name}"[:63].rstrip("-")


def served_name(spec: EvalDeploymentSpec) -> str:
    """What clients ask for as `model`, whatever version answers: the registered model's name, in letters that every server takes."""
    if _PLAIN.fullmatch(spec.model):
        return spec.model
    return re.sub(r"[^A-Za-z0-9._-]+", "-", spec.model).strip("-._") or "model"


def labels(obj: Mapping[str, Any]) -> dict[str, str]:
    """Labels of everything that belongs to an EvalDeployment."""
    metadata = obj["metadata"]
    return {
        MANAGED_BY: MANAGER,
        "app.kubernetes.io/part-of": "msm",
        DEPLOYMENT: label_value(metadata["name"]),
        DEPLOYMENT_UID: metadata["uid"],
    }
