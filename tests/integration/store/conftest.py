"""Stores for the contract tests: a directory, and a bucket of a real SeaweedFS that all tests of a session share."""

import secrets

import pytest

from msm.store import StoreConfig, open_store
from tests.s3 import running_s3

BUCKET = "contract"


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        server.make_bucket(BUCKET)
        yield server


@pytest.fixture
def s3_config(s3_server):
    return s3_server.config(BUCKET, secrets.token_hex(8))


@pytest.fixture(params=["file", "s3"])
def store(request, tmp_path):
    if request.param == "file":
        return open_store(StoreConfig(uri=(tmp_path / "store").as_uri()))
    return open_store(request.getfixturevalue("s3_config"))
