"""One operator for most tests of this directory: a test that kills it or its store makes its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import rbac
from tests.cluster.control_plane import ControlPlane
from tests.cluster.test_msmrun.installation import HOME, Installation
from tests.s3 import S3Server, running_s3


@pytest.fixture(scope="session")
def store_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def operator(
    training_operator: ControlPlane, definitions: ControlPlane, store_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """The operator, running with the token of its ServiceAccount and the rights that the chart grants."""
    kubeconfig = rbac.install(training_operator, HOME)
    installation = Installation(training_operator, store_server, tmp_path_factory.mktemp("operator"), kubeconfig)
    installation.prepare()
    installation.start()
    yield installation
    installation.end()


@pytest.fixture
def room(operator: Installation, namespace: str, tmp_path: Path) -> tuple[Installation, str]:
    """The operator and a namespace of the test's own with the store's secret."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "msm-store", "namespace": namespace}}
    operator.plane.api.put(secret)
    if operator.process is None or operator.process.poll() is not None:
        operator.start()
    return operator, namespace
