"""Names and labels of what belongs to an EvalDeployment.

Pure. Neighbours: every renderer and reader here; `backends.names` has those of runs. Invariant: a unit's name is a function of the
resource's uid, the version and the variant; the stable Service is called like the resource.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from msm.api.evaldeployment import EvalDeploymentSpec, Serving
from msm.plan.fingerprint import digest
from msm_operator.backends.names import MANAGED_BY, MANAGER, label_value, slug
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

_LONGEST = 40
"""Characters of a unit's name: other controllers append to it."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def variant_of(serving: Serving) -> str:
    """A digest of what needs other pods when it changes; the number of pods does not."""
    return digest({"runtime": serving.runtime, "gpus": serving.gpus})[:6]


def unit_name(obj: Mapping[str, Any], unit: Unit) -> str:
    """Name of a unit's InferenceService and of what goes with it: as much for people as KServe leaves room for.

    KServe makes a host name `<name>-predictor-<namespace>`, one label of 63 characters; it comes up with nothing where that is longer.
    """
    metadata = obj["metadata"]
    mark = sha256(f"{metadata['uid']}/{unit.version}/{unit.variant}".encode()).hexdigest()[:8]
    room = min(_LONGEST, 63 - len("-predictor-") - len(metadata["namespace"])) - len(mark) - 1
    people = f"{slug(metadata['name'], max(1, room - len(unit.version) - 2))}-v{unit.version}"
    if room < len(unit.version) + 4:
        return f"m{mark}"
    return f"{people}-{mark}" if people[0].isalpha() else f"m{people[1:]}-{mark}"


def does_not_fit(obj: Mapping[str, Any], unit: Unit) -> str:
    """Why KServe cannot serve a unit here, mostly nothing: the namespace's name alone may be too long for its host names."""
    namespace = obj["metadata"]["namespace"]
    if len(f"{unit_name(obj, unit)}-predictor-{namespace}") <= 63:
        return ""
    return f"KServe makes host names of 63 characters out of the namespace's, and {namespace} has {len(namespace)}; 43 are the most"


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
