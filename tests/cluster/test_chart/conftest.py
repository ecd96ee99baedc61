"""A control plane for the chart alone: a release in all namespaces and the operators of other tests would work on each other's runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.control_plane import ControlPlane, NotBuilt, started
from tests.cluster.test_chart.release import Release, helm_program
from tests.s3 import S3Server, running_s3


@pytest.fixture(scope="package")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    helm_program()
    try:
        with started(tmp_path_factory.mktemp("chart-plane"), "kwok", "training-operator") as plane:
            yield plane
    except NotBuilt as missing:
        pytest.skip(f"cluster lane: {missing}")


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("chart-s3")) as server:
        yield server


@pytest.fixture
def release(plane: ControlPlane, server: S3Server, tmp_path: Path) -> Iterator[Release]:
    """A release that is not there yet, in a namespace that enforces Pod Security; uninstalled after the test."""
    found = Release(plane, server, tmp_path)
    found.prepare("team")
    yield found
    found.helm("uninstall", "msm", "--ignore-not-found", "--no-hooks")
