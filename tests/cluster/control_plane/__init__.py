"""A real control plane for tests: etcd, kube-apiserver, controller-manager and scheduler as local processes, others on request.

`started(directory)` is the way in; `tests/cluster/conftest.py` offers it as fixtures, `python -m tests.cluster.control_plane` by hand.
Design and failure modes: docs/design/cluster-tests.md. Invariant: everything listens on this machine only, lives in one directory and
ends with its parent.
"""

from tests.cluster.control_plane.binaries import NotBuilt
from tests.cluster.control_plane.client import Api, Refused, Reply
from tests.cluster.control_plane.plane import ADDONS, ControlPlane, started

__all__ = ["ADDONS", "Api", "ControlPlane", "NotBuilt", "Refused", "Reply", "started"]
