"""What a run file names on this machine, read as an executor would read it, so that a cluster can be given it as blobs.

Neighbours: `submission` uploads and applies; `msm.resolve` reads. Invariant: a blob holds the very bytes that the local executor would
keep (texts become rows before they are uploaded), so a run has the same fingerprints on a laptop and in a cluster. Cost: one read of each.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from msm.errors import UserError
from msm.evals.items import parse_items
from msm.plan.resolution import Resolved
from msm.resolve.addresses import File, parse
from msm.resolve.clients import Clients
from msm.resolve.inputs import resolve_corpus, resolve_file
from msm.store.blobs import blob_key

Spec = Mapping[str, Any]
Reader = Callable[[str, str, Path, Clients, Callable[[bytes], str]], Resolved]
Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class LocalInput:
    """One local file or directory of a run: its place in the file, where it was, its bytes and their digest in hex."""

    field: str
    steps: Steps
    origin: str
    data: bytes
    sha256: str


def local_inputs(spec: Spec, base: Path) -> list[LocalInput]:
    """Every local text and row file below a run's spec; paths are relative to `base`.

    Raises:
        UserError: one is not there or is no good, or a model is local, which no blob can be.
    """
    _refuse_local_models(spec, base)
    found = [_read(spec, steps, field, reader, base) for steps, field, reader in _sources(spec)]
    return [one for one in found if one is not None]


def rewritten(spec: Spec, inputs: list[LocalInput], store_uri: str) -> dict[str, Any]:
    """The spec with each local input's address in the store in its place."""
    changed: dict[str, Any] = copy.deepcopy(dict(spec))
    for one in inputs:
        *above, last = one.steps
        node: Any = changed
        for step in above:
            node = node[step]
        node[last] = {"uri": blob_address(store_uri, one.sha256)}
    return changed


def blob_address(store_uri: str, digest: str) -> str:
    """The address of a blob of a store, as a run may name it."""
    return f"{store_uri.rstrip('/')}/{blob_key(digest)}"


def _sources(spec: Spec) -> Iterator[tuple[Steps, str, Reader]]:
    readers: dict[str, Reader] = {"modelSpecs": resolve_file, "corpora": resolve_corpus, "demonstrations": resolve_file}
    for section, reader in readers.items():
        for number, item in enumerate(spec.get(section) or ()):
            if item.get("source"):
                yield (section, number, "source"), f"spec.{section}.{item['name']}.source", reader
    for number, item in enumerate(spec.get("evals") or ()):
        if item.get("items"):
            yield ("evals", number, "items", "source"), f"spec.evals.{item['name']}.items.source", _read_items(item)


def _read_items(evaluation: Mapping[str, Any]) -> Reader:
    """A reader that also checks items: a mistake in them must not wait until everything is trained."""
    if evaluation.get("suite", "preference") != "preference":
        return resolve_file

    def read(origin: str, field: str, base: Path, clients: Clients, keep: Callable[[bytes], str]) -> Resolved:
        def checked(data: bytes) -> str:
            parse_items(data.decode("utf-8", "replace"), f"{field}: {origin}")
            return keep(data)

        return resolve_file(origin, field, base, clients, checked)

    return read


def _read(spec: Spec, steps: Steps, field: str, reader: Reader, base: Path) -> LocalInput | None:
    """The input at a place of the spec; None when it is not local."""
    node: Any = spec
    for step in steps:
        node = node[step]
    origin = node.get("path") or node.get("uri")
    if origin is None or not ("path" in node or isinstance(parse(origin, field, base), File)):
        return None
    kept: dict[str, bytes] = {}

    def keep(data: bytes) -> str:
        digest = sha256(data).hexdigest()
        kept[digest] = data
        return digest

    reader(origin, field, base, Clients(cache=base), keep)
    ((digest, data),) = kept.items()
    return LocalInput(field, steps, origin, data, digest)


def _refuse_local_models(spec: Spec, base: Path) -> None:
    places = [("spec.baseModel.uri", spec["baseModel"]["uri"])]
    places += [(f"spec.endpoints.{e['name']}.serve.model", e["serve"]["model"]) for e in spec.get("endpoints") or () if e.get("serve")]
    for field, address in places:
        if isinstance(parse(address, field, base), File):
            problem = f'"{address}" is a directory of this machine, which a cluster cannot read'
            raise UserError(field, problem, "copy it to s3://, or name it by hf://, pypi:// or models:/")
