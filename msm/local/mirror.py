"""Copy what a run needs from outside into a store of one's own.

Neighbours: `msm.resolve.copying` keeps copies, `msm.stages.outside` reads them back. Invariant: a run that was mirrored resolves to the
same identities with the mirror alone, so its fingerprints and finished stages stay. Cost: every remote input once, models wholly.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from msm.api import MSMRun, load_run
from msm.data.fetch_model import copy_remote
from msm.local.workspace import workspace
from msm.plan import Resolved
from msm.resolve.addresses import S3, Hf, parse
from msm.resolve.clients import Clients
from msm.resolve.copying import Copies, copying_clients
from msm.resolve.inputs import resolve_model
from msm.resolve.run import resolve_run
from msm.stages.outside import outside_clients
from msm.store import open_store


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What a mirror holds of one run."""

    uri: str
    identities: dict[str, str]
    """Input's place in the spec -> identity."""
    near: tuple[str, ...]
    """Places of models that are not copied: files, volumes, registries of this network."""
    files: int
    bytes: int


def mirror_run(path: Path, to: str, environ: Mapping[str, str], directory: Path) -> Mirrored:
    """Copy every remote input of the run in a file to the store at `to`.

    Raises:
        UserError: the file, an input or the store is not usable; TryAgain: something does not answer, and what was copied stays.
    """
    run = load_run(path)
    space = workspace(environ, directory)
    config = space.store_config(run, environ)
    copies = Copies(open_store(replace(config, uri=to)))
    clients = copying_clients(outside_clients(space.cache, config, environ), copies)
    resolved = resolve_run(run, path.parent, clients, lambda data: sha256(data).hexdigest(), "float32").inputs
    models = {"baseModel": resolved["baseModel"], **dict(_served(run, path.parent, clients))}
    near = tuple(place for place, model in models.items() if not _copied(model, clients))
    identities = {place: found.identity for place, found in {**resolved, **models}.items()}
    return Mirrored(copies.shelf.uri, identities, near, len(copies.sizes), sum(copies.sizes.values()))


def _served(run: MSMRun, base: Path, clients: Clients) -> Iterator[tuple[str, Resolved]]:
    """Remote models that a cluster serves for the run."""
    for endpoint in run.spec.endpoints:
        field = f"spec.endpoints.{endpoint.name}.serve.model"
        if endpoint.serve is not None and isinstance(parse(endpoint.serve.model, field, base), Hf | S3):
            yield f"endpoints.{endpoint.name}", resolve_model(endpoint.serve.model, endpoint.serve.revision, field, base, clients)


def _copied(model: Resolved, clients: Clients) -> bool:
    clients.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mirror-", dir=clients.cache) as scratch:
        return copy_remote(model, Path(scratch) / "objects", clients)
