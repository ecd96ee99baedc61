"""Is this directory safe and whole to load? Safetensors only, headers parsed, every tensor inside its file.

Used before any loader sees a file (`resolve`, `train`, `evals`). Invariant: nothing here unpickles; a directory that passes holds no
pickle and no truncated tensor file. Digests of contents are the store's matter. Cost: one small read a file.
"""

import json
import stat
from math import prod
from pathlib import Path
from typing import Any

from msm.errors import UserError

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".joblib", ".npy")
HEADER_LIMIT = 100_000_000
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
FIX = "fetch the file again, or save the weights as safetensors"


def check_safetensors(path: Path) -> None:
    """Checks one .safetensors file, or all weights of a model or adapter directory; UserError says which file and why."""
    if path.is_dir():
        _check_directory(path)
    elif path.suffix != ".safetensors":
        raise UserError(path.name, "only .safetensors weights are loaded", FIX)
    else:
        _check_file(path)


def _check_directory(path: Path) -> None:
    for entry in sorted(path.iterdir()):
        if entry.suffix.lower() in PICKLES:
            raise UserError(f"{path.name}/{entry.name}", "weights that can run code are never loaded; only .safetensors are", FIX)
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise UserError(path.name, "holds no .safetensors file; weights must be safetensors", FIX)
    for file in files:
        _check_file(file)


def _check_file(path: Path) -> None:
    header, begin, size = _read_header(path)
    spans = sorted(_span(path, name, entry) for name, entry in header.items() if name != "__metadata__")
    at = 0
    for start, end, name in spans:
        if start != at:
            raise _broken(path, f"tensor {name} starts at byte {start}, the one before ends at {at}")
        at = end
    if begin + at != size:
        raise _broken(path, f"its header describes {begin + at} bytes, the file has {size}")


def _read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _broken(path, "it is not a regular file")
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if status.st_size < 8 or length > min(HEADER_LIMIT, status.st_size - 8):
                raise _broken(path, f"{status.st_size} bytes cannot hold its header")
            text = file.read(length)
    except OSError as error:
        raise UserError(path.name, f"cannot be read ({error.strerror})", FIX) from error
    return _parse(path, text), 8 + length, status.st_size


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _broken(path, "its header is not JSON") from error
    if not isinstance(header, dict) or not header:
        raise _broken(path, "its header is not a table of tensors")
    return header


def _span(path: Path, name: str, entry: Any) -> tuple[int, int, str]:
    """First byte, byte after the last, name; checks that the shape and the type need exactly these bytes."""
    try:
        bits, shape, (start, end) = BITS[entry["dtype"]], entry["shape"], entry["data_offsets"]
        fits = all(type(number) is int and number >= 0 for number in (*shape, start, end)) and end - start == (prod(shape) * bits + 7) // 8
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(path, f"tensor {name} is described wrongly") from error
    if not fits:
        raise _broken(path, f"tensor {name} of shape {shape} does not fit its bytes")
    return start, end, name


def _broken(path: Path, reason: str) -> UserError:
    return UserError(path.name, f"not a whole safetensors file: {reason}", FIX)
