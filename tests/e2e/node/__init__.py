"""A real Kubernetes node for tests: containerd, kubelet and a control plane in namespaces of their own, without a container engine.

`started(layout)` is the way in. Design and failure modes: docs/design/e2e.md.
"""

from tests.e2e.node.layout import Layout
from tests.e2e.node.machine import lacks
from tests.e2e.node.node import Node, NodeDidNotStart, started

__all__ = ["Layout", "Node", "NodeDidNotStart", "lacks", "started"]
