import subprocess
import sys
from pathlib import Path

import pytest

from msm.errors import UserError
from msm.store import StoreConfig, open_store

FULL = StoreConfig("s3://b/p", "https://e:9000", "eu", Path("/ca.pem"), "KEYID", "SECRET", "TOKEN")


@pytest.mark.parametrize("config", [FULL, StoreConfig("file:///x"), StoreConfig("s3://b", access_key="a", secret_key="s")])
def test_a_configuration_survives_the_environment(config):
    assert StoreConfig.from_environ(config.to_environ()) == config


def test_secrets_are_in_no_repr():
    assert not {word for word in ("KEYID", "SECRET", "TOKEN") if word in repr(FULL) + str(FULL)}


def test_an_empty_variable_counts_as_unset():
    assert StoreConfig.from_environ({"MSM_STORE_URI": "file:///x", "MSM_STORE_ENDPOINT": "", "OTHER": "y"}) == StoreConfig("file:///x")


URIS = {
    "an unknown scheme": ("gs://bucket/x", 'unknown scheme "gs"; use file:///absolute/directory or s3://bucket/prefix'),
    "no scheme": ("some/directory", 'unknown scheme ""'),
    "a relative file URI": ("file://some/directory", "write three slashes"),
    "nothing after the scheme": ("file:", "write three slashes"),
    "a URI that does not parse": ("s3://[half", "is no URI"),
    "a URI with a password": ("s3://user:hunter2@bucket/x", "carries credentials; put them into AWS_ACCESS_KEY_ID"),
}


@pytest.mark.parametrize("case", URIS.values(), ids=URIS)
def test_a_wrong_uri_is_said_in_one_line(case):
    uri, message = case
    with pytest.raises(UserError) as caught:
        open_store(StoreConfig(uri))
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_missing_uri_names_the_variable():
    with pytest.raises(UserError, match="MSM_STORE_URI: is not set; set it to"):
        StoreConfig.from_environ({})


def test_a_directory_with_spaces_and_umlauts_round_trips(tmp_path):
    directory = tmp_path / "mein Ordner ü%20"
    store = open_store(StoreConfig(directory.as_uri()))
    store.put("k", b"x")
    assert (directory / "k").read_bytes() == b"x"
    assert store.uri == directory.as_uri()


def test_a_file_store_needs_neither_minio_nor_torch():
    code = "import sys, msm.store.gc, msm.store.checkpoints; print({'minio', 'torch', 'urllib3'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
