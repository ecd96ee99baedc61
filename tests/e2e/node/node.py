"""A real node: made, waited for, looked into, disturbed, ended.

`started(layout)` is the way in; `python -m tests.e2e.node` does the same by hand. Neighbours: `box` holds it, `components` and `settings`
say what runs, `images` brings images. Invariant: when the block ends, or its process is killed, nothing of the node is left but the store
of images. Cost: about 15 s to Ready, 0.8 GiB at rest (docs/design/e2e.md).
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
import yaml

from tests.cluster.control_plane.client import Api, Object
from tests.cluster.control_plane.pki import Authority, authority, signing_key
from tests.cluster.control_plane.plane import AUDIT_POLICY, certificate_of, write_kubeconfig
from tests.e2e.node import components, images, settings
from tests.e2e.node.box import Box, open_box
from tests.e2e.node.layout import DOMAIN, PAUSE_IMAGE, Layout

READY_SECONDS = 240.0
"""A limit for hangs, not for slowness."""
NOT_READY = "node did not become Ready"


class NodeDidNotStart(Exception):
    """The node is not Ready in time; holds what its components said last."""


@dataclass(slots=True)
class Node:
    """A running node; `api` speaks as its administrator."""

    layout: Layout
    box: Box
    authority: Authority
    api: Api
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each step of the start took."""

    def ctr(self, *arguments: str) -> str:
        """What containerd's own command prints, in the namespace that kubelet uses."""
        return images.ctr(self.layout, *arguments)

    def load(self, archive: Path) -> bool:
        """Bring an image into the store; whether it was not there yet."""
        return images.load(self.layout, archive)

    def inside(self, *arguments: str) -> str:
        """What a command prints that runs on the node."""
        return subprocess.run(self.box.command(*arguments), stdout=subprocess.PIPE, text=True, check=True).stdout

    def kill(self, component: str) -> float:
        """Kill a component; the node starts it again. Returns when, on the clock of `time.time`."""
        for pid in self.box.running(components.program_path(component)):
            os.kill(pid, signal.SIGKILL)
        return time.time()

    def kill_pod(self, pod: Object) -> int:
        """Kill the processes of a pod's containers, as a machine that runs out of memory does; how many there were."""
        killed = 0
        for pid in self._pids_of(pod["metadata"]["uid"]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        return killed

    def memory_mib(self, pod: Object) -> int:
        """Resident memory of a pod's containers."""
        return sum(_resident_kib(pid) for pid in self._pids_of(pod["metadata"]["uid"])) // 1024

    def ends(self) -> list[Object]:
        """Components that ended, each with its exit code."""
        log = self.layout.logs / "ends.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def tail(self, component: str, lines: int = 15) -> str:
        """The end of a component's log."""
        log = self.layout.logs / f"{component}.log"
        return "\n".join(line[:300] for line in log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""

    def _pids_of(self, uid: str) -> list[int]:
        """Processes of a pod's containers; the one that only holds its namespaces is not among them."""
        return [pid for pid in self.box.pids() if uid in _groups_of(pid) and not _is_pause(pid)]


@contextlib.contextmanager
def started(layout: Layout) -> Iterator[Node]:
    """A node that is Ready.

    Raises:
        NotBuilt: a program is not in the cache; see `machine.lacks`, which says so first.
        NodeDidNotStart: it is not Ready in time.
    """
    with _alone(layout):
        shutil.rmtree(layout.directory, ignore_errors=True)
        node = _start(layout)
        try:
            _wait_ready(node)
            yield node
        finally:
            node.box.close()


@contextlib.contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """One node of a name, and one user of a store of images, at a time."""
    layout.images.mkdir(parents=True, exist_ok=True)
    with (layout.images.parent / f".{layout.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise NodeDidNotStart(f"another node uses {layout.images}; end that one first") from taken
        yield


def _start(layout: Layout) -> Node:
    began = time.monotonic()
    for directory in (layout.logs, layout.directory / "run"):
        directory.mkdir(parents=True)
    signer = _sign(layout)
    runc, containerd = _found("runc"), _found("containerd")
    settings.write(layout, runc)
    (layout.directory / "audit-policy.yaml").write_text(yaml.safe_dump(AUDIT_POLICY))
    box = open_box(layout, components.components(layout, containerd))
    node = Node(layout, box, signer, Api(layout.kubeconfig("admin")))
    node.seconds["box"] = round(time.monotonic() - began, 1)
    return node


def _found(program: str) -> str:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    assert found is not None, f"{program} is not here; machine.lacks() says so first"
    return found


def _sign(layout: Layout) -> Authority:
    """Every certificate and kubeconfig of the node."""
    signer = authority(layout.pki, "msm-node")
    signing_key(layout.pki)
    service = [f"kubernetes.default{rest}" for rest in ("", ".svc", f".svc.{DOMAIN}")]
    signer.server("kube-apiserver", ["kube-apiserver", "kubernetes", *service, "127.0.0.1", layout.address, layout.first_service])
    signer.server("kubelet-server", [layout.name, layout.address, "127.0.0.1"])
    signer.client("kubelet-client", "kube-apiserver-kubelet-client", "system:masters")
    authority(layout.pki / "front-proxy", "front-proxy-ca").client("client", "front-proxy-client")
    users = {
        "admin": ("admin", "system:masters"),
        "kubelet": (f"system:node:{layout.name}", "system:nodes"),
        "kube-controller-manager": ("system:kube-controller-manager",),
        "kube-scheduler": ("system:kube-scheduler",),
        "kube-proxy": ("system:kube-proxy",),
        "coredns": ("system:coredns",),
    }
    for who, (user, *groups) in users.items():
        pair = signer.client(who, user, *groups)
        write_kubeconfig(layout.kubeconfig(who), layout.server, signer, certificate_of(pair))
    return signer


def _wait_ready(node: Node) -> None:
    """The node in the order of its parts: containerd with the pause image, API server with the DNS server's rights, node Ready."""
    began = time.monotonic()
    deadline = began + READY_SECONDS
    _until(node, deadline, lambda: node.layout.socket.exists())
    _forget_containers(node, deadline)
    node.load(images.pause(node.layout.directory / "pause.tar", PAUSE_IMAGE))
    node.seconds["containerd"] = round(time.monotonic() - began, 1)
    _until(node, deadline, lambda: _answers(node.api))
    node.api.put(*dns_rights())
    node.seconds["api server"] = round(time.monotonic() - began, 1)
    _until(node, deadline, lambda: _is_ready(node))
    node.seconds["ready"] = round(time.monotonic() - began, 1)


def _forget_containers(node: Node, deadline: float) -> None:
    """A node that was killed leaves the records of its containers in the lasting store, and kubelet would take them for its own."""

    def forgotten() -> bool:
        try:
            for one in node.ctr("containers", "list", "--quiet").split():
                node.ctr("containers", "delete", one)
        except subprocess.CalledProcessError:
            return False
        return True

    _until(node, deadline, forgotten)


def dns_rights() -> list[dict[str, Any]]:
    """What CoreDNS reads; its service account is a client certificate here."""
    name, api = "system:coredns", "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    role = {"apiGroup": api, "kind": "ClusterRole", "name": name}
    return [
        {"apiVersion": f"{api}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": role,
            "subjects": [{"apiGroup": api, "kind": "User", "name": name}],
        },
    ]


def _until(node: Node, deadline: float, holds: Any) -> None:
    while not holds():
        if not node.box.is_running() or time.monotonic() > deadline:
            last = {name: node.tail(name, 5) for name in ("box", "containerd", "kube-apiserver", "kubelet")}
            raise NodeDidNotStart(f"{NOT_READY}: {json.dumps(last, indent=1)}; ended: {node.ends()}")
        time.sleep(0.1)


def _answers(api: Api) -> bool:
    try:
        return api.request("GET", "/readyz").status == 200
    except (urllib3.exceptions.HTTPError, OSError):
        return False


def _is_ready(node: Node) -> bool:
    """Whether kubelet says so, and the controller manager has taken the taint away that keeps pods off."""
    found = node.api.request("GET", f"/api/v1/nodes/{node.layout.name}").body
    conditions = found.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions) and not found["spec"].get("taints")


def _groups_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""


def _is_pause(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] == b"/pause"
    except OSError:
        return False


def _resident_kib(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
    return 0
