"""Weights that are not whole, or could run code, are refused before any loader opens them."""

import json
import struct

import pytest

from msm.data.weights import check_safetensors
from msm.errors import UserError


def safetensors(header, body):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text + body


GOOD_HEADER = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b": {"dtype": "BF16", "shape": [3], "data_offsets": [16, 22]},
}
GOOD = safetensors(GOOD_HEADER, bytes(22))


def with_tensor(**changes):
    return safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}, bytes(8))


BROKEN = {
    "0 bytes": b"",
    "3 bytes": b"abc",
    "cut short": GOOD[:-1],
    "one byte too many": GOOD + b"\0",
    "a header longer than the file": struct.pack("<Q", 1 << 40) + b"{}",
    "a header that is not JSON": safetensors(b"{nonsense", b""),
    "a header that is a list": safetensors(b"[1]", b""),
    "a bit flipped in the shape": with_tensor(shape=[3]),
    "an unknown type": with_tensor(dtype="F31"),
    "offsets outside the file": with_tensor(shape=[4], data_offsets=[0, 16]),
    "offsets that go back": with_tensor(data_offsets=[8, 0]),
    "a negative size": with_tensor(shape=[-2], data_offsets=[0, -8]),
    "a size that is no number": with_tensor(shape=["2"]),
    "a tensor that is a text": safetensors({"a": "b"}, b""),
    "a hole between tensors": safetensors({"a": {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]}}, bytes(4)),
    "tensors that overlap": safetensors({n: {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]} for n in "ab"}, bytes(8)),
    "a pickle under another name": b"\x80\x05\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_by_name(content, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^model.safetensors: not a whole safetensors file") as caught:
        check_safetensors(path)
    assert "fetch the file again" in caught.value.fix


def test_a_whole_file_passes_alone_and_in_its_directory(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(GOOD)
    (tmp_path / "config.json").write_text("{}")
    check_safetensors(tmp_path / "model.safetensors")
    check_safetensors(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter.pt", "training_args.PKL", "x.pickle"])
def test_a_directory_with_a_pickle_is_refused_even_beside_safetensors(name, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(GOOD)
    (tmp_path / name).write_bytes(b"\x80\x05.")
    with pytest.raises(UserError, match=f"{name}: weights that can run code are never loaded"):
        check_safetensors(tmp_path)


def test_no_weights_at_all_and_other_formats_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no"):
        check_safetensors(tmp_path)
    with pytest.raises(UserError, match="weights are loaded"):
        check_safetensors(tmp_path / "model.bin")
    with pytest.raises(UserError, match="cannot be read"):
        check_safetensors(tmp_path / "absent.safetensors")


def test_every_flipped_bit_of_a_header_is_refused_or_harmless(tmp_path):
    """A flip inside a tensor's name is the store's digest to find; one that changes what would be read must be found here."""
    path = tmp_path / "model.safetensors"
    for position in (*range(8), *range(len(GOOD) - 60, len(GOOD) - 22)):
        for bit in range(8):
            damaged = bytearray(GOOD)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                check_safetensors(path)
            except UserError:
                continue
            header = json.loads(bytes(damaged)[8 : 8 + struct.unpack("<Q", damaged[:8])[0]])
            sizes = sorted(tuple(entry["data_offsets"]) for name, entry in header.items() if name != "__metadata__")
            assert sizes[-1][1] == 22
