"""Whether a store really has one winner per key, asked of the store itself before anything depends on it.

Neighbours: `config.open_store` asks at every open. Why: a server or gateway that ignores `If-None-Match` answers 200 and overwrites, and
two owners of one fingerprint would then both believe that they committed. Cost: one request once the marker exists.
"""

from msm.errors import UserError
from msm.store.objects import ObjectStore

MARKER = "probe/conditional-put"
"""Stays in the store for ever: while it exists, a second creation must be refused."""


def check_conditional_put(store: ObjectStore) -> None:
    """Return when the store refuses to create an object that exists; UserError when it overwrites it instead."""
    created_again = store.put_if_absent(MARKER, b"first") and store.put_if_absent(MARKER, b"second")
    if created_again:
        raise UserError(
            store.uri,
            "its server ignores If-None-Match: it replaced an object that it should have refused to create",
            "use a server with conditional writes, such as AWS S3 or SeaweedFS 4, and no gateway that strips the header",
        )
