"""Where everything that a run makes lies: `file://` and `s3://`, blobs, artifacts committed once, checkpoints, progress, gc.

Over `msm.plan`, under the stages. `objects` is the seam, `files` and `s3` the two stores behind it, `artifacts` the commit protocol,
`progress` who owns a fingerprint, `checkpoints` what a next attempt continues from, `gc` what may go. Invariant: nothing half-written
is ever read, and no digest goes unchecked. Imports no torch; minio only once an `s3://` store is opened.
"""

from msm.store.config import StoreConfig, open_store
from msm.store.objects import ObjectInfo, ObjectNotFound, ObjectStore

__all__ = ["ObjectInfo", "ObjectNotFound", "ObjectStore", "StoreConfig", "open_store"]
