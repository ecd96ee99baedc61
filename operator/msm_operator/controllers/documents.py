"""A run's documents in the store, and the stores that runs live in: what the operator reads and writes there, from threads.

`runs/<id>/`: run.json, plan.json and cluster.json (written once), status.json, results.json and the report (replaced), as the local
executor keeps them, so that every command reads both. Neighbours: `accept` freezes, `look` reads artifacts. Invariant: a store that did not
answer is not asked again for some seconds, so that an outage costs each pass nothing.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from msm.api import MSMRun
from msm.api.base import Record
from msm.api.run import Storage
from msm.clock import Clock
from msm.errors import IntegrityError, TryAgain, UserError
from msm.local.accept import read_plan
from msm.local.records import load_accepted_run
from msm.local.status import RunStatus
from msm.plan import Plan
from msm.store import ObjectNotFound, ObjectStore, StoreConfig, open_store

RETRY_SECONDS = 5.0
"""Between two tries at a store that does not answer."""
ID_CHARACTERS = 12


def run_id(name: str, uid: str) -> str:
    """The run's identity in the store: its name, and enough of the resource's uid to tell it from every other."""
    return f"{name}-{uid.replace('-', '')[:ID_CHARACTERS]}"


@dataclass(slots=True)
class Stores:
    """Opened stores, one a configuration; safe to use from several threads."""

    clock: Clock
    opener: Callable[[StoreConfig], ObjectStore] = open_store
    _opened: dict[StoreConfig, ObjectStore] = field(default_factory=dict)
    _failed: dict[str, tuple[float, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, config: StoreConfig) -> ObjectStore:
        """The store of a configuration.

        Raises:
            TryAgain: it does not answer; UserError: it refuses.
        """
        with self._lock:
            store = self._opened.get(config)
        if store is None:
            store = self.opener(config)
            with self._lock:
                self._opened[config] = store
        return store

    def check(self, config: StoreConfig) -> None:
        """Nothing, unless a store gave no answer a moment ago.

        Raises:
            TryAgain: it did not; by the words of that time.
        """
        with self._lock:
            failed = self._failed.get(config.uri)
        if failed is not None and self.clock.monotonic() - failed[0] < RETRY_SECONDS:
            raise TryAgain(failed[1])

    def silent(self, config: StoreConfig, message: str) -> None:
        """Note that a store gave no answer."""
        with self._lock:
            self._failed[config.uri] = (self.clock.monotonic(), message)


class ClusterRecord(Record):
    """Where in which cluster a run is executed, and by which images: `runs/<id>/cluster.json`, frozen with the plan."""

    namespace: str
    """Namespace of the resource."""
    name: str
    """Its name."""
    uid: str
    """Its uid."""
    image: str
    """Image of its stages; an upgrade of the operator changes no live run."""
    serve_image: str
    """Image of its endpoints."""


@dataclass(frozen=True, slots=True)
class Documents:
    """The frozen documents of one run."""

    id: str
    run: MSMRun
    plan: Plan
    cluster: ClusterRecord
    store: ObjectStore
    config: StoreConfig
    digest: str
    """Of the plan; computed once, since it costs milliseconds."""


def load(store: ObjectStore, config: StoreConfig, id_: str) -> Documents | None:
    """What acceptance froze; None when it did not get that far.

    Raises:
        UserError: another version wrote it; IntegrityError: half of it is gone.
    """
    plan = read_plan(store, id_)
    if plan is None:
        return None
    run, cluster = load_accepted_run(store, id_), read_cluster(store, id_)
    if run is None or cluster is None:
        raise IntegrityError(f"runs/{id_}: has a plan, but its {'run.json' if run is None else 'cluster.json'} is gone")
    return Documents(id_, run, plan, cluster, store, config, plan.digest)


def read_cluster(store: ObjectStore, id_: str) -> ClusterRecord | None:
    """Where a run is executed; None when no cluster executes it."""
    try:
        return ClusterRecord.model_validate_json(store.get(f"runs/{id_}/cluster.json"))
    except ObjectNotFound:
        return None
    except ValidationError as error:
        raise UserError(f"runs/{id_}/cluster.json", "was written by another version of the operator", "use that") from error


def freeze(store: ObjectStore, config: StoreConfig, id_: str, run: MSMRun, plan: Plan, cluster: ClusterRecord) -> Documents:
    """Write a run's documents, the plan last and only if there is none: whoever was first has frozen it."""
    prefix = f"runs/{id_}"
    store.put(f"{prefix}/run.json", run.model_dump_json(by_alias=True, indent=1).encode())
    first = store.put_if_absent(f"{prefix}/cluster.json", cluster.model_dump_json(by_alias=True, indent=1).encode())
    if store.put_if_absent(f"{prefix}/plan.json", plan.model_dump_json(by_alias=True, indent=1).encode()) and first:
        return Documents(id_, run, plan, cluster, store, config, plan.digest)
    frozen = load(store, config, id_)
    if frozen is None:
        raise IntegrityError(f"{prefix}/plan.json: gone as soon as it was written")
    return frozen


def keep_status(documents: Documents, status: RunStatus) -> None:
    """Replace the run's status in the store."""
    documents.store.put(f"runs/{documents.id}/status.json", status.model_dump_json(by_alias=True, indent=1).encode())


def drop(store: ObjectStore, id_: str) -> int:
    """Remove a run's documents: the root that its artifacts are kept by, never an artifact. How many."""
    keys = [found.key for found in store.list(f"runs/{id_}/")]
    for key in keys:
        store.delete(key)
    return len(keys)


def config_for(
    run: MSMRun, default: StoreConfig | None, namespaced: bool, secret: Mapping[str, str] | None, files: Path | None
) -> StoreConfig:
    """Where a run's artifacts lie.

    In cluster mode the installation's credential is for one prefix, and a run may name a place below it. In namespaced mode a run may bring
    a store of its own, with a secret of its namespace.

    Raises:
        UserError: the run names a store that this installation may not use, or none and there is no default.
    """
    storage = run.spec.storage
    if storage is None:
        if default is None:
            raise UserError("spec.storage", "is missing, and this installation has no store of its own", "set spec.storage.uri")
        return default
    if default is not None and not has_own_store(run, default):
        return _at(default, storage.uri)
    if not namespaced:
        raise UserError("spec.storage", _not_ours(storage, default), "leave spec.storage out, or name a prefix below it")
    return _own(run, secret or {}, files)


def has_own_store(run: MSMRun, default: StoreConfig | None) -> bool:
    """Whether a run brings a store of its own: another place, server, credential or certificate than the installation's."""
    storage = run.spec.storage
    if storage is None:
        return False
    brings = storage.secret_ref is not None or storage.endpoint is not None or storage.ca_secret_ref is not None
    return brings or default is None or not _is_below(storage.uri, default.uri)


def _not_ours(storage: Storage, default: StoreConfig | None) -> str:
    where = default.uri if default is not None else "none"
    if default is not None and _is_below(storage.uri, default.uri):
        return f"brings an endpoint or a Secret, which an installation for all namespaces does not read; its store is {where}"
    return f'"{storage.uri}" is not below this installation\'s store, {where}'


def _is_below(uri: str, root: str) -> bool:
    plain = uri.rstrip("/")
    return plain == root.rstrip("/") or (plain.startswith(f"{root.rstrip('/')}/") and ".." not in plain.split("/"))


def _at(default: StoreConfig, uri: str) -> StoreConfig:
    return StoreConfig(
        uri.rstrip("/"), default.endpoint, default.region, default.ca_file, default.access_key, default.secret_key, default.session_token
    )


def _own(run: MSMRun, secret: Mapping[str, str], files: Path | None) -> StoreConfig:
    storage = run.spec.storage
    assert storage is not None, "only runs with a store of their own come here"
    if not storage.uri.startswith("s3://"):
        raise UserError("spec.storage.uri", f'"{storage.uri}" cannot be reached from a cluster', "use s3://bucket/prefix")
    return StoreConfig(
        uri=storage.uri.rstrip("/"),
        endpoint=storage.endpoint,
        region=storage.region,
        ca_file=files,
        access_key=secret.get("AWS_ACCESS_KEY_ID"),
        secret_key=secret.get("AWS_SECRET_ACCESS_KEY"),
        session_token=secret.get("AWS_SESSION_TOKEN"),
    )
