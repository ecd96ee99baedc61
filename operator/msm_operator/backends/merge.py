"""A user's pod template over ours: maps merge, lists merge by the key that Kubernetes merges them by, the rest is replaced.

Pure. Neighbours: `pods` renders ours and seals the result. Source of the merge keys: strategic merge patch of core/v1. Invariant: merging
nothing changes nothing; the order of ours stays, what is new comes after it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
}
"""Field -> the key that its items are merged by."""
APPENDED = ("tolerations", "envFrom", "topologySpreadConstraints")
"""Lists that are appended: replacing our tolerations would lose the ones that GPUs need."""


def merge(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Ours with theirs over it; null removes a field."""
    merged = dict(ours)
    for name, value in theirs.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(name, merged.get(name), value)
    return merged


def _merged(name: str, ours: Any, theirs: Any) -> Any:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return merge(ours, theirs)
    if isinstance(ours, list) and isinstance(theirs, list):
        if name in KEYS:
            return _by_key(KEYS[name], ours, theirs)
        if name in APPENDED:
            return ours + [item for item in theirs if item not in ours]
    return theirs


def _by_key(key: str, ours: Sequence[Any], theirs: Sequence[Any]) -> list[Any]:
    items = {item.get(key): item for item in ours}
    for item in theirs:
        mine = items.get(item.get(key)) if isinstance(item, Mapping) else None
        items[item.get(key) if isinstance(item, Mapping) else repr(item)] = merge(mine, item) if mine is not None else item
    return list(items.values())
