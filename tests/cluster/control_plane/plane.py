"""One control plane: its certificates, its four servers, identities for tests, and the controllers that a test asks for.

Neighbours: `processes` runs servers, `pki` signs, `fake_nodes`, `training_operator`, `kserve` and `kueue` each know one add-on.
Invariant: an add-on is started once and stays; tests keep apart by namespaces. Cost: about 10 s and 0.5 GiB for the core
(docs/design/cluster-tests.md).
"""

import base64
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster.control_plane import fake_nodes, kserve, kueue, training_operator
from tests.cluster.control_plane.client import Api, Object
from tests.cluster.control_plane.pki import Authority, Pair, authority, signing_key
from tests.cluster.control_plane.processes import Processes, Server
from tests.cluster.control_plane.webhooks import Webhooks

ADDONS: dict[str, Callable[["ControlPlane"], None]] = {
    "kwok": fake_nodes.start,
    "training-operator": training_operator.start,
    "kserve": kserve.start,
    "kueue": kueue.start,
}
PROBES = "--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics"
NAMES_OF_SERVER = ("kube-apiserver", "127.0.0.1", "localhost", "10.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]}, {"level": "None"}],
}


@dataclass(slots=True)
class ControlPlane:
    """A running control plane; `api` speaks as its administrator."""

    directory: Path
    processes: Processes
    authority: Authority
    webhooks: Webhooks
    api: Api
    _addons: list[str]

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.directory / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        """Every write that the API server took, one JSON object a line; read it with `audit`."""
        return self.directory / "audit.log"

    @property
    def server(self) -> str:
        """Address of the API server."""
        return f"https://127.0.0.1:{self.processes.port('kube-apiserver')}"

    def enable(self, *addons: str) -> None:
        """Start add-ons (names of ADDONS) that are not there yet; Kueue last, it looks at the definitions that are there.

        Raises:
            NotBuilt: a program is not in the cache.
            DidNotStart: a controller ended or did not become ready.
        """
        for name in [name for name in ADDONS if name in addons and name not in self._addons]:
            ADDONS[name](self)
            self._addons.append(name)

    def service_account(self, namespace: str, name: str, seconds: int = 86400) -> Path:
        """A kubeconfig with a bound token of a ServiceAccount that exists: how a program runs under its own rights."""
        token = self.api.kubectl("create", "token", name, "-n", namespace, f"--duration={seconds}s").strip()
        return write_kubeconfig(self.directory / f"{namespace}-{name}.kubeconfig", self.server, self.authority, {"token": token})

    def user(self, name: str, *groups: str) -> Path:
        """A kubeconfig of a person, by client certificate; they may do what RBAC says of the name and the groups."""
        file = f"user-{name}"
        pair = self.authority.client(file, name, *groups)
        return write_kubeconfig(self.directory / f"{file}.kubeconfig", self.server, self.authority, certificate_of(pair))

    def restart_api_server(self, kill: bool = False) -> None:
        """Stop the API server and start it again on the same port and data."""
        self.processes.restart("kube-apiserver", kill, admin_context(self.authority))


@contextmanager
def started(directory: Path, *addons: str, audit: bool = True, api_server: Sequence[str] = ()) -> Iterator[ControlPlane]:
    """A control plane in an empty directory, stopped at the end; `api_server` are further arguments of kube-apiserver.

    Raises:
        NotBuilt: a program is not in the cache.
        DidNotStart: a server ended or did not become ready.
    """
    processes = Processes(directory)
    try:
        yield _start(directory, processes, addons, audit, api_server)
    finally:
        processes.stop_all()


def _start(directory: Path, processes: Processes, addons: Sequence[str], audit: bool, api_server: Sequence[str]) -> ControlPlane:
    signer = authority(directory / "pki", "test-ca")
    processes.start(_etcd(processes))
    processes.start(_api_server(processes, signer, audit, api_server), admin_context(signer))
    server = f"https://127.0.0.1:{processes.port('kube-apiserver')}"
    for user in ("kube-controller-manager", "kube-scheduler"):
        pair = signer.client(user, f"system:{user}")
        write_kubeconfig(directory / f"{user}.kubeconfig", server, signer, certificate_of(pair))
    admin = write_kubeconfig(directory / "admin.kubeconfig", server, signer, certificate_of(_admin(signer)))
    processes.start(_controller_manager(processes, signer))
    processes.start(_scheduler(processes))
    api = Api(admin)
    plane = ControlPlane(directory, processes, signer, Webhooks(directory / "webhooks", api, processes), api, [])
    plane.enable(*addons)
    return plane


def _admin(signer: Authority) -> Pair:
    pair = Pair(signer.directory / "admin.crt", signer.directory / "admin.key")
    return pair if pair.certificate.exists() else signer.client("admin", "admin", "system:masters")


def admin_context(signer: Authority) -> ssl.SSLContext:
    """TLS as the administrator."""
    pair = _admin(signer)
    context = ssl.create_default_context(cafile=str(signer.pair.certificate))
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def certificate_of(pair: Pair) -> dict[str, str]:
    """The user of a kubeconfig who has a client certificate."""
    return {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}


def write_kubeconfig(path: Path, server: str, signer: Authority, user: dict[str, str]) -> Path:
    """A kubeconfig with one context."""
    certificate = base64.b64encode(signer.pair.certificate.read_bytes()).decode()
    config: Object = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": certificate}}],
        "users": [{"name": path.stem, "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": path.stem}}],
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _etcd(processes: Processes) -> Server:
    client, peer = (f"http://127.0.0.1:{processes.port(name)}" for name in ("etcd", "etcd-peer"))
    arguments = (
        f"--data-dir={processes.directory / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--log-level=warn",
    )
    return Server("etcd", arguments, f"{client}/health")


def _api_server(processes: Processes, signer: Authority, audit: bool, more: Sequence[str]) -> Server:
    serving = signer.server("kube-apiserver", NAMES_OF_SERVER)
    kubelet = signer.client("kubelet-client", "kube-apiserver-kubelet-client", "system:masters")
    accounts = signing_key(signer.directory)
    port = processes.port("kube-apiserver")
    arguments = [
        f"--etcd-servers=http://127.0.0.1:{processes.port('etcd')}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",  # with the line above: no default route and no other address is needed
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--client-ca-file={signer.pair.certificate}",
        f"--kubelet-client-certificate={kubelet.certificate}",
        f"--kubelet-client-key={kubelet.key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={accounts.certificate}",
        f"--service-account-signing-key-file={accounts.key}",
        "--service-cluster-ip-range=10.0.0.0/16",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--profiling=false",
        *_front_proxy(signer.directory / "front-proxy"),
        *(_audit(processes.directory) if audit else ()),
        *more,
    ]
    return Server("kube-apiserver", tuple(arguments), f"https://127.0.0.1:{port}/readyz")


def _front_proxy(directory: Path) -> list[str]:
    """Without it the API server and the controller manager log errors every few seconds."""
    signer = authority(directory, "front-proxy-ca")
    client = signer.client("client", "front-proxy-client")
    return [
        f"--requestheader-client-ca-file={signer.pair.certificate}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={client.certificate}",
        f"--proxy-client-key-file={client.key}",
    ]


def _audit(directory: Path) -> list[str]:
    policy = directory / "audit-policy.yaml"
    policy.write_text(yaml.safe_dump(AUDIT_POLICY), encoding="utf-8")
    return [f"--audit-policy-file={policy}", f"--audit-log-path={directory / 'audit.log'}"]


def _controller_manager(processes: Processes, signer: Authority) -> Server:
    port, kubeconfig = processes.port("kube-controller-manager"), processes.directory / "kube-controller-manager.kubeconfig"
    ca = signer.pair
    arguments = (
        *_delegating(kubeconfig, port),
        f"--service-account-private-key-file={signer.directory / 'service-accounts.key'}",
        f"--root-ca-file={ca.certificate}",
        f"--cluster-signing-cert-file={ca.certificate}",
        f"--cluster-signing-key-file={ca.key}",
        "--use-service-account-credentials=true",
        "--allocate-node-cidrs=false",
        "--controllers=*,-node-ipam-controller,-cloud-node-lifecycle-controller",
        "--concurrent-gc-syncs=20",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    )
    return Server("kube-controller-manager", arguments, f"https://127.0.0.1:{port}/healthz")


def _scheduler(processes: Processes) -> Server:
    port = processes.port("kube-scheduler")
    arguments = tuple(_delegating(processes.directory / "kube-scheduler.kubeconfig", port))
    return Server("kube-scheduler", arguments, f"https://127.0.0.1:{port}/healthz")


def _delegating(kubeconfig: Path, port: int) -> list[str]:
    """What the two clients of the API server have in common."""
    paths = [f"--{use}kubeconfig={kubeconfig}" for use in ("", "authentication-", "authorization-")]
    return [*paths, "--leader-elect=false", "--bind-address=127.0.0.1", f"--secure-port={port}", PROBES, "--profiling=false"]
