"""Whether a piece of a pod that a run brings can be merged into one of ours: its shape, not its meaning, which the API server knows.

Pure. Neighbours: `training` and `run` check their fields with it, the operator merges. Invariant: what passes can be merged without error;
and no override hands a stage a token of the API server, at which stages have no rights.
"""

from collections.abc import Mapping
from typing import Any

PARTS = ("metadata", "spec")
NAMED = ("containers", "initContainers", "volumes", "imagePullSecrets")
"""Lists of a pod's spec whose items have names, by which they are merged."""


def check_template(template: Mapping[str, Any]) -> None:
    """Nothing, for a pod template that can be merged.

    Raises:
        ValueError: it has another shape; says where and what belongs there.
    """
    for key in template:
        if key not in PARTS:
            raise ValueError(f"{key} is no part of a pod template; it has metadata and spec")
    for key in PARTS:
        _mapping(template.get(key, {}), key)
    spec = template.get("spec", {})
    for name in NAMED:
        _named(spec.get(name, []), f"spec.{name}")
    for number, container in enumerate(spec.get("containers", [])):
        _named(container.get("env", []), f"spec.containers[{number}].env")
    _mapping(template.get("metadata", {}).get("labels", {}), "metadata.labels")
    for number, volume in enumerate(spec.get("volumes", [])):
        check_volume(volume, f"spec.volumes[{number}]")


def check_volume(volume: Mapping[str, Any], where: str = "") -> None:
    """Nothing, for a volume that brings no token of the API server.

    Raises:
        ValueError: it does.
    """
    projected = volume.get("projected")
    sources = projected.get("sources") if isinstance(projected, Mapping) else None
    for source in sources if isinstance(sources, list) else ():
        token = source.get("serviceAccountToken") if isinstance(source, Mapping) else None
        if isinstance(token, Mapping) and not token.get("audience"):
            place = f"{where}.projected" if where else "projected"
            raise ValueError(f"{place} mounts a token for the API server, which stages may not have; name another audience, or remove it")


def _mapping(value: Any, where: str) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is no object; write it as in a pod")


def _named(items: Any, where: str) -> None:
    if not isinstance(items, list):
        raise ValueError(f"{where} is no list; write it as in a pod")
    for number, item in enumerate(items):
        _mapping(item, f"{where}[{number}]")
        if not isinstance(item.get("name"), str) or not item["name"]:
            raise ValueError(f"{where}[{number}] has no name, by which it would be merged")
