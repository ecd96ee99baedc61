"""Accept a run: resolve its inputs once, plan it, freeze the plan in the store.

Neighbours: `session` executes what this returns; `preview` asks for a plan without freezing it. Invariant: a run that was accepted keeps
its plan; the same file with the same contents is the same run, so calling `msm run` again continues it. Cost: one read of every local
input; remote ones are resolved only when the run is new.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from msm.api import MSMRun, load_run
from msm.errors import UserError
from msm.evals.items import parse_items
from msm.local.workspace import Workspace, workspace
from msm.plan import Plan, Resolution, plan_run
from msm.plan.fingerprint import digest
from msm.resolve.addresses import File, parse
from msm.resolve.clients import Clients
from msm.resolve.inputs import Keep, local_identity
from msm.resolve.run import resolve_run
from msm.stages.outside import process_clients
from msm.store import ObjectNotFound, ObjectStore, open_store
from msm.store.blobs import put_blob
from msm.train.precision import Precision, detect_precision, read_cpuinfo

NOT_IDENTITY = frozenset({"suspend", "ttlSecondsAfterFinished", "execution", "tracking", "storage"})
"""Keys of spec that may change without making it another run."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run with its frozen plan and the store it lives in."""

    run: MSMRun
    uid: str
    plan: Plan
    store: ObjectStore
    workspace: Workspace
    frozen_before: bool
    """Whether an earlier call had accepted it."""


def accept(path: Path, environ: Mapping[str, str], directory: Path) -> Accepted:
    """Resolve, plan and freeze the run in a file, or find it frozen.

    Raises:
        UserError: the file, an input or the store is not usable here; TryAgain: something outside does not answer.
    """
    found = _planned(path, environ, directory, lambda store: lambda data: put_blob(store, data))
    if found.frozen_before:
        return found
    prefix = f"runs/{found.uid}"
    found.store.put(f"{prefix}/run.json", found.run.model_dump_json(by_alias=True, indent=1).encode())
    if found.store.put_if_absent(f"{prefix}/plan.json", found.plan.model_dump_json(by_alias=True, indent=1).encode()):
        return found
    frozen = read_plan(found.store, found.uid)
    assert frozen is not None, "plan.json was there a moment ago"
    return replace(found, plan=frozen, frozen_before=True)


def preview_plan(path: Path, environ: Mapping[str, str], directory: Path) -> Accepted:
    """The same, but nothing is written."""
    return _planned(path, environ, directory, lambda store: lambda data: sha256(data).hexdigest())


def _planned(path: Path, environ: Mapping[str, str], directory: Path, keep_in: Callable[[ObjectStore], Keep]) -> Accepted:
    run = load_run(path)
    _refuse_cluster_fields(run)
    space = workspace(environ, directory)
    store = open_store(space.store_config(run, environ))
    uid = run_uid(run, path.parent)
    frozen = read_plan(store, uid)
    plan = frozen or plan_run(run, _resolve(run, path.parent, keep_in(store), space, environ))
    return Accepted(run, uid, plan, store, space, frozen_before=frozen is not None)


def resolve_checked(run: MSMRun, base: Path, clients: Clients, keep: Keep, precision: Precision) -> Resolution:
    """The run's inputs, with eval items checked now: a mistake in them must not wait until everything is trained.

    Raises:
        UserError: an input is not there or not usable; TryAgain: something outside does not answer.
    """
    texts: dict[str, bytes] = {}

    def keep_and_note(data: bytes) -> str:
        sha = keep(data)
        texts[sha] = data
        return sha

    resolution = resolve_run(run, base, clients, keep_and_note, precision)
    for evaluation in run.spec.evals:
        if evaluation.items is not None and evaluation.suite == "preference":
            sha = resolution.blob(f"evals.{evaluation.name}.items")
            source = evaluation.items.source
            name = source.path or source.uri or "inline"
            parse_items(texts[sha or ""].decode("utf-8", "replace"), f"spec.evals.{evaluation.name}.items: {name}")
    return resolution


def read_plan(store: ObjectStore, uid: str) -> Plan | None:
    """The frozen plan of a run, or None."""
    try:
        return Plan.model_validate_json(store.get(f"runs/{uid}/plan.json"))
    except ObjectNotFound:
        return None


def run_uid(run: MSMRun, base: Path) -> str:
    """Identity of a local run: its name and a digest of its file and of the local files that it names.

    What equals its default is left out, so that a field which a later version adds makes no run another one.
    """
    spec: dict[str, Any] = run.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)["spec"]
    kept = {key: value for key, value in spec.items() if key not in NOT_IDENTITY}
    return f"{run.metadata.name}-{digest({'spec': kept, 'files': _local_digests(kept, base)})[:10]}"


def _local_digests(node: Any, base: Path, where: str = "spec") -> list[str]:
    """Content digests of every local file below a node (`path:` and `uri: file://`), in the order of the file."""
    if isinstance(node, dict):
        own = [local_identity(path, f"{where}.{key}") for key, path in _local_paths(node, base)]
        return own + [found for key, value in node.items() for found in _local_digests(value, base, f"{where}.{key}")]
    if isinstance(node, list):
        return [found for number, value in enumerate(node) for found in _local_digests(value, base, f"{where}[{number}]")]
    return []


def _local_paths(node: dict[str, Any], base: Path) -> Iterator[tuple[str, Path]]:
    path, uri = node.get("path"), node.get("uri")
    if isinstance(path, str):
        yield "path", base / path
    if isinstance(uri, str) and uri.startswith("file://"):
        address = parse(uri, "uri", base)
        if isinstance(address, File):
            yield "uri", address.path


def _refuse_cluster_fields(run: MSMRun) -> None:
    if run.spec.suspend:
        raise UserError("spec.suspend", "is true", "set it to false to run here; Ctrl-C suspends a local run")
    for name in ("midtrain", "finetune"):
        resources = getattr(run.spec.training, name).resources
        if resources.nodes > 1:
            raise UserError(f"spec.training.{name}.resources.nodes", f"{resources.nodes} needs a cluster", "use 1 here")


def _resolve(run: MSMRun, base: Path, keep: Keep, space: Workspace, environ: Mapping[str, str]) -> Resolution:
    clients = process_clients(space.cache, space.store_config(run, environ), environ)
    return resolve_checked(run, base, clients, keep, _precision(run))


def _precision(run: MSMRun) -> Precision:
    wanted = run.spec.training.precision
    return detect_precision(read_cpuinfo()) if wanted == "auto" else wanted
