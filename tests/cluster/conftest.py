"""The cluster lane: tests on a real control plane, run by `make test-cluster` or by naming this directory; see tests/conftest.py.

Where Go or a program is missing, the tests that need it are skipped with what to type.
"""

import re
import uuid
from collections.abc import Iterator

import pytest

from tests.cluster.control_plane import Api, ControlPlane, NotBuilt, started
from tests.cluster.runs import install_definitions


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd, kube-apiserver, kube-controller-manager and kube-scheduler."""
    directory = tmp_path_factory.mktemp("control-plane")
    try:
        with started(directory) as plane:
            yield plane
    except NotBuilt as missing:
        pytest.skip(f"cluster lane: {missing}")


def _with(plane: ControlPlane, *addons: str) -> ControlPlane:
    try:
        plane.enable(*addons)
    except NotBuilt as missing:
        pytest.skip(f"cluster lane: {missing}")
    return plane


@pytest.fixture(scope="session")
def fake_nodes(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with two fake nodes (kwok); see control_plane/stages/pod.yaml."""
    return _with(control_plane, "kwok")


@pytest.fixture(scope="session")
def training_operator(fake_nodes: ControlPlane) -> ControlPlane:
    """The control plane with fake nodes and PyTorchJobs."""
    return _with(fake_nodes, "training-operator")


@pytest.fixture(scope="session")
def kserve(fake_nodes: ControlPlane) -> ControlPlane:
    """The control plane with fake nodes and InferenceServices."""
    return _with(fake_nodes, "kserve")


@pytest.fixture(scope="session")
def kueue(training_operator: ControlPlane) -> ControlPlane:
    """The control plane with fake nodes, PyTorchJobs and quotas."""
    return _with(training_operator, "kueue")


@pytest.fixture(scope="session")
def definitions(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with MSMRun and EvalDeployment."""
    install_definitions(control_plane.api)
    return control_plane


@pytest.fixture
def api(control_plane: ControlPlane) -> Api:
    """The administrator."""
    return control_plane.api


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, short enough for KServe's host names, deleted after it (not waited for)."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:32].strip("-")
    name = f"{words}-{uuid.uuid4().hex[:6]}"
    control_plane.api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    control_plane.api.request("DELETE", f"/api/v1/namespaces/{name}")
