"""A mirror answers for the outside: the same identities, whole files or none, and never a look outside."""

import json
from dataclasses import dataclass, field, replace

import pytest

from msm.data.fetch_model import copy_remote, fetch_model
from msm.errors import IntegrityError, UserError
from msm.resolve import Clients, resolve_file, resolve_model
from msm.resolve.addresses import Hf, Pypi
from msm.resolve.copying import Copies, copying_clients
from msm.resolve.mirrored import mirrored_clients
from msm.store.files import open_file_store
from tests.tiny import make_tiny_model

COMMIT = "c" * 40
FIELD = "spec.baseModel.uri"


@dataclass
class Hub:
    """Stands for the hub, which no test reaches: one repository at one commit; counts what it is asked."""

    files: object
    asked: list = field(default_factory=list)

    def commit(self, address, field):
        self.asked.append("commit")
        return COMMIT

    def file(self, address, field, cache):
        self.asked.append(address.inner)
        assert address.revision == COMMIT
        return self.files / address.inner

    def snapshot(self, address, field, cache, patterns):
        self.asked.append("snapshot")
        assert address.revision == COMMIT
        return self.files


@dataclass
class Wheels:
    """Stands for the package index: one wheel."""

    path: object

    def wheel(self, address, field, cache):
        return self.path


@pytest.fixture
def shelf(tmp_path):
    return open_file_store(tmp_path / "mirror")


@pytest.fixture
def outside(tmp_path):
    model = make_tiny_model(tmp_path / "model")
    (model / "rows.jsonl").write_text('{"text": "a"}\n')
    wheel = tmp_path / "pkg-1.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    buckets = {"inputs": open_file_store(tmp_path / "bucket")}
    buckets["inputs"].put("docs/rows.jsonl", b'{"text": "b"}\n')
    return Clients(cache=tmp_path / "cache", wheels=Wheels(wheel), hub=Hub(model), bucket=buckets.__getitem__)


@pytest.fixture
def inside(tmp_path, shelf):
    return mirrored_clients(Clients(cache=tmp_path / "elsewhere"), shelf)


def keep(data):
    return "0" * 64


ADDRESSES = {
    "a model on the hub by its branch": lambda c: resolve_model("hf://org/name", None, FIELD, None, c),
    "a model on the hub by a revision with a slash": lambda c: resolve_model("hf://org/name", "refs/pr/1", FIELD, None, c),
    "a wheel": lambda c: resolve_model("pypi://pkg==1.0", None, FIELD, None, c),
    "objects in a bucket": lambda c: resolve_model("s3://inputs/docs", None, FIELD, None, c),
    "a file on the hub": lambda c: resolve_file("hf://datasets/org/name/rows.jsonl", FIELD, None, c, keep),
    "a file in a bucket": lambda c: resolve_file("s3://inputs/docs/rows.jsonl", FIELD, None, c, keep),
}


@pytest.mark.parametrize("ask", ADDRESSES.values(), ids=ADDRESSES)
def test_what_was_resolved_with_copies_has_the_same_identity_and_place_in_the_mirror(ask, outside, inside, shelf):
    assert ask(copying_clients(outside, Copies(shelf))) == ask(inside)


@pytest.mark.parametrize("ask", ADDRESSES.values(), ids=ADDRESSES)
def test_what_was_not_copied_is_one_error_that_says_how(ask, inside):
    with pytest.raises(UserError) as caught:
        ask(inside)
    assert FIELD in str(caught.value)


def test_a_mirrored_model_is_fetched_whole_without_the_outside(outside, inside, shelf, tmp_path):
    resolved = resolve_model("hf://org/name", None, FIELD, None, copying_clients(outside, Copies(shelf)))
    assert copy_remote(resolved, tmp_path / "scratch", copying_clients(outside, Copies(shelf)))
    asked = len(outside.hub.asked)
    got, direct = fetch_model(resolved, tmp_path / "got", inside), fetch_model(resolved, tmp_path / "direct", outside)
    assert {p.name: p.read_bytes() for p in got.iterdir()} == {p.name: p.read_bytes() for p in direct.iterdir()}
    assert len(outside.hub.asked) == asked + 1


def test_an_interrupted_copy_is_not_a_snapshot(outside, inside, shelf):
    address = Hf("org/name", COMMIT)
    copies = Copies(shelf)
    copying_clients(outside, copies).hub.snapshot(address, FIELD, outside.cache, ())
    shelf.delete(f"hub/models/org/name/snapshots/{COMMIT}.json")
    with pytest.raises(UserError, match="is not in the mirror"):
        inside.hub.snapshot(address, FIELD, inside.cache, ())


def test_a_damaged_copy_is_found_when_it_is_read(outside, inside, shelf):
    address = Hf("org/name", COMMIT)
    copying_clients(outside, Copies(shelf)).hub.snapshot(address, FIELD, outside.cache, ())
    shelf.put(f"hub/models/org/name/files/{COMMIT}/config.json", b"{}")
    with pytest.raises(IntegrityError, match=r"config\.json has SHA-256"):
        inside.hub.snapshot(address, FIELD, inside.cache, ())


def test_an_index_that_leaves_the_snapshot_is_refused(inside, shelf):
    shelf.put(f"hub/models/org/name/snapshots/{COMMIT}.json", json.dumps({"../evil": "0" * 64}).encode())
    with pytest.raises(IntegrityError, match="damaged"):
        inside.hub.snapshot(Hf("org/name", COMMIT), FIELD, inside.cache, ())


def test_a_wheel_with_other_bytes_than_pinned_is_refused(outside, inside, shelf):
    pinned = Pypi("pkg", "1.0", "0" * 64)
    copying_clients(outside, Copies(shelf)).wheels.wheel(replace(pinned, sha256=None), FIELD, outside.cache)
    with pytest.raises(IntegrityError, match="the address pins"):
        inside.wheels.wheel(pinned, FIELD, inside.cache)


def test_copying_again_uploads_nothing_new(outside, shelf):
    first, second = Copies(shelf), Copies(shelf)
    address = Hf("org/name", COMMIT)
    copying_clients(outside, first).hub.snapshot(address, FIELD, outside.cache, ())
    before = {entry.key: entry.modified for entry in shelf.list("hub/models/org/name/files/")}
    copying_clients(outside, second).hub.snapshot(address, FIELD, outside.cache, ())
    assert {entry.key: entry.modified for entry in shelf.list("hub/models/org/name/files/")} == before
    assert second.sizes == first.sizes
