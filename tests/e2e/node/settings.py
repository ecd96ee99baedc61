"""The files that components of the node read: containerd, CNI, kubelet, kube-proxy, CoreDNS. Pure but for `write`.

Invariant: nothing here points outside of the node's own directory, but for the store of images. Each line that is not what a usual node
has says why; docs/design/e2e.md has the reasons in one place.
"""

import json
from typing import Any

import yaml

from tests.e2e.node.layout import DOMAIN, PAUSE_IMAGE, Layout
from tests.e2e.node.machine import CNI

Settings = dict[str, Any]
DISK = ("nodefs.available", "nodefs.inodesFree", "imagefs.available")
"""What kubelet would collect images for."""


def write(layout: Layout, runc: str) -> None:
    """Every file, at the places that `components` names."""
    files = {
        "containerd.toml": containerd(layout, runc),
        "cni/10-pods.conflist": json.dumps(network(layout)),
        "kubelet.yaml": yaml.safe_dump(kubelet(layout)),
        "kube-proxy.yaml": yaml.safe_dump(proxy(layout)),
        "Corefile": corefile(layout),
        "hosts": f"{layout.outside} outside.test.internal\n",
        "resolv.conf": f"nameserver {layout.address}\n",
    }
    for name, text in files.items():
        path = layout.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def containerd(layout: Layout, runc: str) -> str:
    """containerd's own format. Without CAP_SYS_RESOURCE no score may be lowered, hence `restrict_oom_score_adj`."""
    return f"""version = 2
root = "{layout.images}"
state = "{layout.directory}/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]

[grpc]
  address = "{layout.socket}"

[ttrpc]
  address = "{layout.socket}.ttrpc"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{CNI}"
  conf_dir = "{layout.directory}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  BinaryName = "{runc}"
  SystemdCgroup = false
"""


def network(layout: Layout) -> Settings:
    """Pods on one bridge, behind the node's address."""
    addresses = {"type": "host-local", "dataDir": str(layout.directory / "run" / "addresses"), "routes": [{"dst": "0.0.0.0/0"}]}
    addresses["ranges"] = [[{"subnet": layout.pods}]]
    bridge = {"type": "bridge", "bridge": "pods0", "isGateway": True, "ipMasq": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]}


def kubelet(layout: Layout) -> Settings:
    """kubelet on cgroup v1, with images that cannot be pulled again and therefore are never collected, not even when the disk is full."""
    serving = layout.pki / "kubelet-server"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "containerRuntimeEndpoint": f"unix://{layout.socket}",
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "protectKernelDefaults": True,
        "resolvConf": str(layout.directory / "resolv.conf"),
        "clusterDNS": [layout.address],
        "clusterDomain": DOMAIN,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "200Mi",
            **dict.fromkeys(("nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%"),
        },
        "maxPods": 100,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{serving}.crt",
        "tlsPrivateKeyFile": f"{serving}.key",
        "nodeStatusUpdateFrequency": "5s",
        "nodeLeaseDurationSeconds": 20,
    }


def proxy(layout: Layout) -> Settings:
    """kube-proxy by nftables; the connection table's size is the machine's and read-only in here."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(layout.kubeconfig("kube-proxy"))},
        "clusterCIDR": layout.pods,
        "oomScoreAdj": 0,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def corefile(layout: Layout) -> str:
    """Names of the cluster, and `outside.test.internal` for servers of the test process; there is nothing else to resolve."""
    return f""".:53 {{
    bind {layout.address}
    health {layout.address}:8080
    errors
    cache 5
    hosts {layout.directory}/hosts {{
        fallthrough
    }}
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {layout.kubeconfig("coredns")}
        pods insecure
        ttl 5
    }}
}}
"""
