"""No copies and no second hashing where the store is a directory, and still no damage goes unseen."""

import json
import os
from pathlib import Path

import pytest

from msm.errors import IntegrityError, UserError
from msm.store import StoreConfig, digests, open_store
from msm.store.artifacts import begin_attempt, materialise
from msm.store.digests import WORTH_REMEMBERING, VerifiedFiles, steady
from tests.unit.store.manual_clock import ManualClock

BIG = b"w" * (WORTH_REMEMBERING + 1)


@pytest.fixture
def store(tmp_path):
    return open_store(StoreConfig((tmp_path / "store").as_uri()))


@pytest.fixture
def manifest(store):
    attempt = begin_attempt(store, "fetch", "aa", ManualClock())
    attempt.put_bytes("model.safetensors", BIG)
    attempt.put_bytes("config.json", b"{}")
    return attempt.commit(kind_version=1, inputs={}, params={}, versions={}, metrics={})


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files that were read to be hashed."""
    names, original = [], digests.sha256_file

    def spy(path):
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(digests, "sha256_file", spy)
    return names


def test_files_are_links_into_the_store_and_not_copies(store, manifest, tmp_path):
    into = materialise(store, manifest, tmp_path / "work" / "base")
    assert (into / "model.safetensors").samefile(store.local_path(manifest.key("model.safetensors")))


def test_a_large_file_is_hashed_once_for_many_stages(store, manifest, tmp_path, hashed):
    for stage in range(3):
        materialise(store, manifest, tmp_path / "work" / f"stage-{stage}")
    assert hashed.count("model.safetensors") == 1
    assert hashed.count("config.json") == 3


def test_stages_with_scratch_directories_of_their_own_can_share_a_memory(store, manifest, tmp_path, hashed):
    for stage in range(3):
        materialise(store, manifest, tmp_path / f"scratch-{stage}" / "base", memory=tmp_path / "verified.json")
    assert hashed.count("model.safetensors") == 1


def flip(path: Path) -> None:
    path.chmod(0o644)
    with path.open("r+b") as handle:
        handle.seek(100)
        handle.write(b"!")


def test_a_remembered_file_that_was_touched_is_hashed_again_and_found_out(store, manifest, tmp_path):
    materialise(store, manifest, tmp_path / "work" / "one")
    original = store.local_path(manifest.key("model.safetensors"))
    before = original.stat()
    flip(original)
    os.utime(original, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(IntegrityError, match="damaged"):
        materialise(store, manifest, tmp_path / "work" / "two")


@pytest.mark.parametrize("spoilt", [b"", b"{", b"[]", b'{"x": 3}', b"\xff"])
def test_a_damaged_memory_is_an_empty_one(store, manifest, tmp_path, hashed, spoilt):
    memory = tmp_path / "verified.json"
    memory.write_bytes(spoilt)
    materialise(store, manifest, tmp_path / "one", memory=memory)
    materialise(store, manifest, tmp_path / "two", memory=memory)
    assert hashed.count("model.safetensors") == 1


def test_the_memory_forgets_files_that_are_gone_and_keeps_what_others_wrote(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(BIG)
    one, other = VerifiedFiles(tmp_path / "m.json"), VerifiedFiles(tmp_path / "m.json")
    one.digest(tmp_path / "a")
    other.digest(tmp_path / "b")
    (tmp_path / "a").unlink()
    one.digest(tmp_path / "c")
    assert {Path(name).name for name in json.loads((tmp_path / "m.json").read_text())} == {"b", "c"}


def test_a_file_that_changes_while_it_is_stored_is_refused(tmp_path):
    (tmp_path / "growing").write_text("one")
    with pytest.raises(UserError, match="was changed while it was being stored"), steady(tmp_path / "growing"):
        (tmp_path / "growing").write_text("one and two")


def test_a_file_of_another_artifact_never_comes_into_a_directory_by_a_stale_link(store, manifest, tmp_path):
    other = begin_attempt(store, "fetch", "bb", ManualClock())
    other.put_bytes("config.json", b"[]")
    second = other.commit(kind_version=1, inputs={}, params={}, versions={}, metrics={})
    materialise(store, manifest, tmp_path / "into", only=["config.json"])
    assert (materialise(store, second, tmp_path / "into") / "config.json").read_bytes() == b"[]"
