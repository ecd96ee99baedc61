"""An EvalDeployment as its user asked for it: parsed, its places known, its items kept.

Blocking where it says so. Neighbours: the controller asks once for each generation. Invariant: a mistake is one UserError that names the
field; what is served does not change by it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from msm.api import MSMRun, parse_run
from msm.api.evaldeployment import EvalDeployment, EvalDeploymentSpec
from msm.api.run import Measurement
from msm.errors import UserError
from msm.evals.items import parse_items
from msm.resolve.clients import Clients
from msm.resolve.inputs import resolve_file, resolve_text
from msm.store import ObjectStore
from msm.store.blobs import get_blob, put_blob
from msm.tracking.config import TrackingConfig, tracking_config
from msm_operator.backends.installation import Installation
from msm_operator.controllers.accept import LAPTOP_ONLY
from msm_operator.promotion.checks import Asked


def parse(obj: Mapping[str, Any]) -> EvalDeployment:
    """The EvalDeployment of a resource.

    Raises:
        UserError: it is not consistent, or asks for what this release does not measure.
    """
    metadata = {name: obj["metadata"][name] for name in ("name", "namespace") if name in obj["metadata"]}
    whole = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata, "spec": obj.get("spec", {})}
    try:
        found = EvalDeployment.model_validate(whole)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(where or "spec", first["msg"].removeprefix("Value error, "), "see docs/reference/evaldeployment.md") from None
    for number, measurement in enumerate(found.spec.evals):
        _check(measurement, f"spec.evals[{number}]")
    return found


def _check(measurement: Measurement, field: str) -> None:
    if measurement.suite != "preference" or measurement.items is None:
        raise UserError(f"{field}.suite", f'"{measurement.suite}" cannot be asked of a served version yet', "use preference")
    source = measurement.items.source
    if source.path is not None or (source.uri or "").startswith("file:"):
        raise UserError(f"{field}.items.source", f'"{source.path or source.uri}" is a file of a laptop', LAPTOP_ONLY)
    if source.config_map_key_ref is not None:
        raise UserError(f"{field}.items.source.configMapKeyRef", "is not read for an EvalDeployment", "use inline or uri")


def as_run(found: EvalDeployment) -> MSMRun:
    """A run that says of storage and tracking what the deployment says, and nothing else: both resources mean the same by them."""
    spec = found.spec.model_dump(mode="json", by_alias=True, exclude_none=True, include={"storage", "tracking"})
    base = {"uri": "hf://none/none", "identity": {"model": "none", "provider": "none"}}
    whole = {"baseModel": base, "arms": [{"name": "base"}], **spec}
    return parse_run({"apiVersion": found.api_version, "kind": "MSMRun", "metadata": {"name": found.metadata.name}, "spec": whole})


def tracking_of(run: MSMRun, installation: Installation) -> TrackingConfig | None:
    """Which MLflow is asked; None where nobody names one.

    Raises:
        UserError: the address is none.
    """
    said = run.spec.tracking
    if (said is None or said.uri is None) and installation.tracking_uri is None:
        return None
    environ = {"MSM_TRACKING_URI": installation.tracking_uri} if installation.tracking_uri is not None else {}
    return tracking_config(run, Path("/nowhere/state"), environ)


def keep_items(spec: EvalDeploymentSpec, clients: Clients, store: ObjectStore) -> tuple[Asked, ...]:
    """The evals, their items copied to the store's blobs and checked; blocking.

    Raises:
        UserError: items that are not there or are none; TryAgain: the place that holds them, or the store, does not answer.
    """
    return tuple(_kept(measurement, clients, store) for measurement in spec.evals)


def _kept(measurement: Measurement, clients: Clients, store: ObjectStore) -> Asked:
    assert measurement.items is not None, "parse() has looked"
    source, field = measurement.items.source, f"spec.evals.{measurement.name}.items.source"

    def keep(data: bytes) -> str:
        return put_blob(store, data)

    if source.inline is not None:
        found = resolve_text(source.inline.encode(), keep)
    else:
        assert source.uri is not None, "parse() has looked"
        found = resolve_file(source.uri, field, None, clients, keep)
    parse_items(get_blob(store, found.identity.removeprefix("sha256:")).decode("utf-8", "replace"), field)
    return Asked(measurement, found.identity)
