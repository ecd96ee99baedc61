"""Addresses that MLflow shows: where an artifact, a blob or a model version lies.

Pure. Neighbours: `desired` and `registry` use it. Invariant: an address never holds a credential, and is one that MLflow accepts.
"""

import json
from urllib.parse import urlsplit

from msm.store.blobs import blob_key
from msm.store.manifest import Manifest

LOCAL_SCHEME = "msm-file"
"""Scheme of a model version's source that lies in a `file://` store of one machine and is registered at a server elsewhere."""


def artifact_uri(store_uri: str, manifest: Manifest) -> str:
    """The directory that holds the files of a committed artifact."""
    return f"{store_uri.rstrip('/')}/{manifest.key('').rstrip('/')}"


def blob_uri(store_uri: str, sha256: str) -> str:
    """Where a blob lies."""
    return f"{store_uri.rstrip('/')}/{blob_key(sha256)}"


def dataset_source(uri: str) -> tuple[str, str]:
    """A dataset's source as MLflow stores it: its type (`local`, `s3`) and the JSON that says where."""
    scheme = urlsplit(uri).scheme
    return ("local" if scheme in ("", "file") else scheme), json.dumps({"uri": uri})


def version_source(uri: str, host: str | None) -> str:
    """Source of a model version; `host` names this machine when MLflow is a server, None when it is a local file.

    A server refuses `file:` sources outside the run's own artifact directory (`_validate_source_run` in MLflow 3.17): it would serve
    whatever lies there on *its* disk. So a file on this machine is registered as `msm-file://host/path`: true, visible, not downloadable.
    """
    if host is None or urlsplit(uri).scheme != "file":
        return uri
    return f"{LOCAL_SCHEME}://{host}{urlsplit(uri).path}"
