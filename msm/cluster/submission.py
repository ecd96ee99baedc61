"""`msm submit`: a file becomes a resource, its local inputs blobs of the run's store.

Neighbours: `local_inputs` reads, `runs` applies. Invariants: nothing is uploaded for a run that the cluster would refuse; everything that
the resource names is in the store before it is applied; the same file twice changes nothing.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from msm.api import load_run
from msm.cluster.connection import Requests
from msm.cluster.local_inputs import LocalInput, blob_address, local_inputs, rewritten
from msm.cluster.runs import Applied, apply_run
from msm.cluster.storage import store_config
from msm.errors import UserError
from msm.store import ObjectStore, StoreConfig
from msm.store.blobs import put_blob

QUANTITY = re.compile(r"([0-9]+(\.[0-9]+)?[kKMGB])|([0-9]+[smhd])+")
"""Text that the API takes for a number: tokens and durations."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run file that was checked: what is to be applied, and the local inputs that go before it. `store` is set if there are any."""

    body: Mapping[str, Any]
    inputs: tuple[LocalInput, ...]
    store: StoreConfig | None

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str | None:
        """The namespace that the file names."""
        found: str | None = self.body["metadata"].get("namespace")
        return found


@dataclass(frozen=True, slots=True)
class Uploaded:
    """One local input in the store."""

    field: str
    origin: str
    uri: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a submission did."""

    applied: Applied
    uploads: tuple[Uploaded, ...]


def prepare(path: Path, environ: Mapping[str, str]) -> Prepared:
    """Check a run file and read what is local; nothing is written.

    Raises:
        UserError: the file or an input is no good, or there are local inputs and no store that a cluster can read.
    """
    run = load_run(path)
    written = json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")), default=str))
    body = as_read(written, run.model_dump(mode="json", by_alias=True, exclude_unset=True))
    inputs = local_inputs(body["spec"], path.parent)
    if not inputs:
        return Prepared(body, (), None)
    store = store_config(body["spec"].get("storage"), environ)
    if not store.uri.startswith("s3://"):
        problem = f"{inputs[0].field} is a file of this machine, and the store {store.uri} cannot be read by a cluster"
        raise UserError("storage.uri", problem, "set spec.storage.uri or MSM_STORE_URI to s3://bucket/prefix")
    return Prepared({**body, "spec": rewritten(body["spec"], inputs, store.uri)}, tuple(inputs), store)


def as_read(written: Any, read: Any) -> Any:
    """What a file says, in the types that it was read as: YAML takes `1e-4` for text, the API server does not take text for a number.

    Quantities such as "2M" and "48h" stay as they are written, so that kubectl and `msm submit` make the same object of a file.
    """
    if isinstance(written, dict) and isinstance(read, dict):
        return {key: as_read(value, read.get(key, value)) for key, value in written.items()}
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        return [as_read(*pair) for pair in zip(written, read, strict=True)]
    was_number = isinstance(read, int | float) and not (isinstance(written, str) and QUANTITY.fullmatch(written))
    return read if was_number and read != written else written


def submit(prepared: Prepared, requests: Requests, opener: Callable[[StoreConfig], ObjectStore], dry_run: bool) -> Submitted:
    """Upload and apply; with `dry_run` the cluster checks the run and nothing is written anywhere.

    Raises:
        UserError: the cluster or the store refuses; TryAgain: one of them does not answer.
    """
    body = {**prepared.body, "metadata": {**prepared.body["metadata"], "namespace": requests.place.namespace}}
    if dry_run or prepared.store is None:
        return Submitted(apply_run(requests, body, dry_run), _uploads(prepared))
    apply_run(requests, body, dry_run=True)
    store = opener(prepared.store)
    for one in prepared.inputs:
        put_blob(store, one.data)
    return Submitted(apply_run(requests, body), _uploads(prepared))


def _uploads(prepared: Prepared) -> tuple[Uploaded, ...]:
    uri = prepared.store.uri if prepared.store is not None else ""
    return tuple(Uploaded(one.field, one.origin, blob_address(uri, one.sha256), len(one.data)) for one in prepared.inputs)
