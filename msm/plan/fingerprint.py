"""A stage's identity: SHA-256 over canonical JSON of what can change its result.

Pure. Neighbours: the planner builds the material, the store keys artifacts by the result. Invariant: equal material gives equal bytes in
every process and Python version; a value that cannot be encoded so is refused, never turned into text. Canonical JSON here: sorted keys,
no spaces, UTF-8, numbers as Python's shortest repr, integral floats as integers (`128.0` and `128` are one value).
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from msm.errors import MSMError


class NotCanonical(MSMError):
    """A value has no deterministic encoding."""


def _normal(value: object, path: str) -> JsonValue:
    match value:
        case None | bool() | int() | str():
            return value
        case float() if not math.isfinite(value):
            raise NotCanonical(f"{path}: {value} has no canonical form; use a finite number or leave the field out")
        case float():
            return int(value) if value.is_integer() else value
        case Mapping():
            return {_key(k, path): _normal(v, f"{path}.{k}") for k, v in value.items()}
        case Sequence() if not isinstance(value, (bytes, bytearray)):
            return [_normal(v, f"{path}[{i}]") for i, v in enumerate(value)]
    raise NotCanonical(f"{path}: {type(value).__name__} has no canonical form; convert it to text, numbers, lists or mappings first")


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise NotCanonical(f"{path}: key {key!r} is not text")
    return key


def canonical(value: object) -> bytes:
    """Canonical JSON of plain data.

    Raises:
        NotCanonical: naming the path of a value without a deterministic encoding (NaN, sets, objects, bytes).
    """
    return json.dumps(_normal(value, "$"), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: object) -> str:
    """SHA-256, in hex, of the canonical JSON of plain data."""
    return hashlib.sha256(canonical(value)).hexdigest()


def fingerprint(kind: str, version: int, params: Mapping[str, JsonValue], inputs: Mapping[str, Sequence[str]]) -> str:
    """Identity of a stage: its kind and kind version, its parameters, its inputs' fingerprints by role."""
    return digest({"kind": kind, "version": version, "params": params, "inputs": {role: list(ids) for role, ids in inputs.items()}})
