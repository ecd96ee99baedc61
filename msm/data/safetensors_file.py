"""Safetensors files read and written tensor by tensor, with numpy alone: a model never lies in memory whole.

Neighbours: `weights` checks files first, `gguf_model` and `fetch_model` write here. Invariant: equal tensors give equal bytes (names
sorted, header padded to 8 bytes), files are readable by all (0644). Cost: one pass over the data, one tensor of memory.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDENED = ("F64", "F32", "F16", "BF16")
"""Types that become float32; integers and booleans stay."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor to be written: safetensors type name, shape, and how to get its values (C order, of that type)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    values: Callable[[], "NDArray[Any]"]


def float_tensor(name: str, shape: tuple[int, ...], values: Callable[[], "NDArray[np.float32]"]) -> Tensor:
    """A float32 tensor."""
    count = 1
    for size in shape:
        count *= size
    return Tensor(name, "F32", shape, 4 * count, values)


def write_tensors(path: Path, tensors: Sequence[Tensor]) -> None:
    """Write a file, sorted by name; ValueError when values do not have the announced size."""
    ordered = sorted(tensors, key=lambda tensor: tensor.name)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in ordered:
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [at, at + tensor.nbytes]}
        at += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for tensor in ordered:
            stream.write(_bytes(tensor))
    path.chmod(0o644)


def _bytes(tensor: Tensor) -> memoryview:
    import numpy as np

    values = np.ascontiguousarray(tensor.values())
    if values.nbytes != tensor.nbytes:
        raise ValueError(f"tensor {tensor.name} has {values.nbytes} bytes, {tensor.nbytes} were announced")
    return values.reshape(-1).view(np.uint8).data


def widened_tensors(path: Path) -> list[Tensor]:
    """The tensors of a checked file, floating-point ones as float32 (exact but for F64, which is rounded); read when written."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header: dict[str, Any] = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return [_widened(path, 8 + length, name, entry) for name, entry in header.items()]


def _widened(path: Path, begin: int, name: str, entry: dict[str, Any]) -> Tensor:
    start, end = entry["data_offsets"]
    dtype, shape = str(entry["dtype"]), tuple(entry["shape"])

    def raw() -> "NDArray[np.uint8]":
        import numpy as np

        return np.fromfile(path, dtype=np.uint8, count=end - start, offset=begin + start)

    if dtype not in WIDENED:
        return Tensor(name, dtype, shape, end - start, raw)
    return float_tensor(name, shape, lambda: to_float32(raw(), dtype))


def to_float32(raw: "NDArray[np.uint8]", dtype: str) -> "NDArray[np.float32]":
    """Bytes of a tensor of type F64, F32, F16 or BF16 as float32, flat."""
    import numpy as np

    if dtype == "BF16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return raw.view({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]).astype(np.float32)
