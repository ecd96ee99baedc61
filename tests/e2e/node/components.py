"""What runs on the node and how it is told: the control plane, containerd, kubelet, kube-proxy, CoreDNS. Pure.

Neighbours: `node` makes the certificates that are named here, `inside` runs the commands. Invariant: a component waits for the addresses
in its `after`, never for time.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.control_plane.binaries import program
from tests.e2e.node.layout import API_PORT, DOMAIN, Layout

ETCD = "127.0.0.1:2379"


@dataclass(frozen=True, slots=True)
class Component:
    """One program: its command, and what has to listen before it is started."""

    name: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def components(layout: Layout, containerd: str) -> list[dict[str, Any]]:
    """All of them, as `inside` reads them."""
    server = f"{layout.address}:{API_PORT}"
    found = [
        Component("containerd", (containerd, "--config", str(layout.directory / "containerd.toml"))),
        Component("etcd", (_built("etcd"), *_etcd(layout))),
        Component("kube-apiserver", (_built("kube-apiserver"), *_api_server(layout)), (ETCD,)),
        Component("kube-controller-manager", (_built("kube-controller-manager"), *_controller_manager(layout)), (server,)),
        Component("kube-scheduler", (_built("kube-scheduler"), *_client(layout, "kube-scheduler")), (server,)),
        Component("kubelet", (_built("kubelet"), *_kubelet(layout)), (server, str(layout.socket))),
        Component("kube-proxy", (_built("kube-proxy"), *_proxy(layout)), (server,)),
        Component("coredns", (_built("coredns"), "-conf", str(layout.directory / "Corefile")), (server,)),
    ]
    return [{**asdict(one), "environment": dict(one.environment)} for one in found]


def _built(name: str) -> str:
    return str(program(name))


def _pair(layout: Layout, file: str, certificate: str, key: str) -> list[str]:
    return [f"--{certificate}={layout.pki / file}.crt", f"--{key}={layout.pki / file}.key"]


def _etcd(layout: Layout) -> list[str]:
    listening = [f"--{use}-client-urls=http://{ETCD}" for use in ("listen", "advertise")]
    return [f"--data-dir={layout.directory / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn", *listening]


def _api_server(layout: Layout) -> list[str]:
    accounts = layout.pki / "service-accounts"
    return [
        f"--etcd-servers=http://{ETCD}",
        f"--secure-port={API_PORT}",
        f"--advertise-address={layout.address}",
        *_pair(layout, "kube-apiserver", "tls-cert-file", "tls-private-key-file"),
        f"--client-ca-file={layout.pki / 'ca.crt'}",
        *_pair(layout, "kubelet-client", "kubelet-client-certificate", "kubelet-client-key"),
        f"--kubelet-certificate-authority={layout.pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
        f"--service-account-key-file={accounts}.pub",
        f"--service-account-signing-key-file={accounts}.key",
        f"--service-cluster-ip-range={layout.services}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--profiling=false",
        *_front_proxy(layout),
        *_audit(layout),
    ]


def _front_proxy(layout: Layout) -> list[str]:
    directory = layout.pki / "front-proxy"
    headers = {"username": "X-Remote-User", "group": "X-Remote-Group", "uid": "X-Remote-Uid"}
    return [
        f"--requestheader-client-ca-file={directory / 'ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        *(f"--requestheader-{use}-headers={header}" for use, header in headers.items()),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={directory / 'client.crt'}",
        f"--proxy-client-key-file={directory / 'client.key'}",
    ]


def _audit(layout: Layout) -> list[str]:
    return [f"--audit-policy-file={layout.directory / 'audit-policy.yaml'}", f"--audit-log-path={layout.directory / 'audit.log'}"]


def _client(layout: Layout, name: str) -> list[str]:
    """What the controller manager and the scheduler have in common."""
    paths = [f"--{use}kubeconfig={layout.kubeconfig(name)}" for use in ("", "authentication-", "authorization-")]
    return [*paths, "--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false"]


def _controller_manager(layout: Layout) -> list[str]:
    return [
        *_client(layout, "kube-controller-manager"),
        f"--service-account-private-key-file={layout.pki / 'service-accounts.key'}",
        f"--root-ca-file={layout.pki / 'ca.crt'}",
        *_pair(layout, "ca", "cluster-signing-cert-file", "cluster-signing-key-file"),
        "--use-service-account-credentials=true",
        "--allocate-node-cidrs=false",
        "--node-monitor-grace-period=40s",
    ]


def _kubelet(layout: Layout) -> list[str]:
    return [
        f"--config={layout.directory / 'kubelet.yaml'}",
        f"--kubeconfig={layout.kubeconfig('kubelet')}",
        f"--hostname-override={layout.name}",
        f"--node-ip={layout.address}",
    ]


def _proxy(layout: Layout) -> list[str]:
    return [f"--config={layout.directory / 'kube-proxy.yaml'}", f"--hostname-override={layout.name}"]


def program_path(name: str) -> Path:
    """The executable by which a running component is recognized."""
    return program(name).resolve()
