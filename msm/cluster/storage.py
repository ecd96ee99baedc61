"""The store of a run in a cluster, as it is reached from here.

Pure. Neighbours: `submission` uploads to it, the command line reads a run's documents from it. Invariant: the URI is the run's own or the
installation's; the endpoint may be another than the cluster's, because a Service's address means nothing outside.
"""

from collections.abc import Mapping
from typing import Any

from msm.errors import UserError
from msm.store.config import StoreConfig


def is_known(storage: Mapping[str, Any] | None, environ: Mapping[str, str]) -> bool:
    """Whether anybody says where the store is."""
    return bool(storage) or bool(environ.get("MSM_STORE_URI"))


def store_config(storage: Mapping[str, Any] | None, environ: Mapping[str, str]) -> StoreConfig:
    """`spec.storage` of a run, else MSM_STORE_URI; how to reach it, and as whom, from the environment first.

    Raises:
        UserError: nobody says where it is.
    """
    if not is_known(storage, environ):
        problem = "is not set, and the run names no storage of its own"
        raise UserError("MSM_STORE_URI", problem, "set it to the store of the installation, s3://bucket/prefix, with its credentials")
    said = dict(storage or {})
    found = {"MSM_STORE_ENDPOINT": said.get("endpoint"), "MSM_STORE_REGION": said.get("region")}
    given = {name: value for name, value in environ.items() if value}
    uri = str(said.get("uri") or environ["MSM_STORE_URI"]).rstrip("/")
    return StoreConfig.from_environ({**{name: str(value) for name, value in found.items() if value}, **given, "MSM_STORE_URI": uri})
