"""JSON schemas for kubeconform out of a running API server, strict: a field that no kind has is an error.

Neighbours: tests of manifests and of the chart. Invariant: the schemas are what this server answers at /openapi/v3, definitions included;
nothing is downloaded. Cost: one request a group and version.
"""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.control_plane import Api
from tests.cluster.control_plane.binaries import program

Object = dict[str, Any]
LOCATION = "{{ .Group }}_{{ .ResourceAPIVersion }}_{{ .ResourceKind }}.json"
OPEN = ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "additionalProperties")


def kubeconform(api: Api, directory: Path, objects: Iterable[Object]) -> str:
    """What kubeconform has against objects; empty when nothing.

    Raises:
        NotBuilt: kubeconform is not in the cache.
    """
    listed = list(objects)
    for version in sorted({str(one["apiVersion"]) for one in listed}):
        _write(api, directory, version)
    command = [str(program("kubeconform")), "-strict", "-output", "text", "-schema-location", f"{directory}/{LOCATION}", "-"]
    done = subprocess.run(command, input=yaml.safe_dump_all(listed), capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _write(api: Api, directory: Path, version: str) -> None:
    """A file for each kind of a group and version."""
    root = f"apis/{version}" if "/" in version else f"api/{version}"
    reply = api.request("GET", f"/openapi/v3/{root}")
    assert reply.status == 200, f"{version}: {reply.message}"
    schemas = _strict(reply.body["components"]["schemas"])
    group, _, last = version.rpartition("/")
    for name, schema in schemas.items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            if (kind["group"], kind["version"]) == (group, last):
                file = directory / f"{group or last}_{last}_{kind['kind'].lower()}.json"
                file.write_text(json.dumps({"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}), encoding="utf-8")


def _strict(node: Any) -> Any:
    """The same schemas, closed to unknown fields where the server is."""
    if isinstance(node, list):
        return [_strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    found = {key: _strict(value) for key, value in node.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object" and not any(key in found for key in OPEN):
        found["additionalProperties"] = False
    return found
