"""The clients of a process, from its environment: the outside itself, or the mirror that stands for it.

Neighbours: executors resolve with them, the fetch stage downloads with them. Invariant: with MSM_MIRROR set, nothing outside the mirror
and the store is asked. Cost: opening the mirror's store.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache as cache_of_calls
from pathlib import Path

from msm.resolve.clients import Clients
from msm.resolve.mirrored import mirrored_clients
from msm.resolve.outside import local_clients
from msm.store import ObjectStore, StoreConfig, open_store

MIRROR = "MSM_MIRROR"
"""URI of a mirror that `msm mirror` filled; the store's endpoint and credentials are used for it."""


def process_clients(cache: Path, store: StoreConfig, environ: Mapping[str, str]) -> Clients:
    """Clients with downloads under `cache`; buckets are on the store's server.

    Raises:
        UserError: the mirror cannot be opened.
    """
    real = outside_clients(cache, store, environ)
    mirror = environ.get(MIRROR)
    return mirrored_clients(real, open_store(replace(store, uri=mirror))) if mirror else real


def outside_clients(cache: Path, store: StoreConfig, environ: Mapping[str, str]) -> Clients:
    """The same, whatever mirror is set. A bucket is opened once, since that asks its server and connects anew."""

    @cache_of_calls
    def bucket(name: str) -> ObjectStore:
        return open_store(replace(store, uri=f"s3://{name}"))

    return local_clients(cache / "downloads", bucket, environ.get("MLFLOW_TRACKING_URI"))
