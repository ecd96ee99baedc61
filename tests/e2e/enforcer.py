"""NetworkPolicies enforced: kube-network-policies as a DaemonSet, and the rules that hand it the first packet of each connection.

Neighbours: `tests.e2e.walls` tries what is then refused. Invariant: upstream's rights unchanged; of its DaemonSet only what this node
needs, in our words. Upstream writes the rules with nftables' own `queue`, which is a kernel option of its own (NFT_QUEUE); the same rules
by iptables need NETFILTER_XT_TARGET_NFQUEUE alone, which more kernels have. Where it does not run, nothing is dropped (`--queue-bypass`).
"""

from tests.cluster.control_plane.binaries import manifests, objects
from tests.cluster.control_plane.client import Object
from tests.e2e.cluster import Cluster

NAME, NAMESPACE = "kube-network-policies", "kube-system"
QUEUE = 100
ROUTE = ("iptables", "--wait", "--table", "mangle", "--append", "POSTROUTING")
RULES = (
    ("--match", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "--jump", "ACCEPT"),
    ("--match", "owner", "--uid-owner", "0", "--jump", "ACCEPT"),
    ("--jump", "NFQUEUE", "--queue-num", str(QUEUE), "--queue-bypass"),
)
"""As upstream's: connections that are known pass, those of the node itself (probes) too, every other first packet is asked about."""


def enforce(made: Cluster, image: str) -> None:
    """From here on a NetworkPolicy holds."""
    shipped = objects(manifests("network-policies") / "install.yaml")
    made.api.put(*(one for one in shipped if one["kind"] != "DaemonSet"), daemons(image, made.node.layout.name))
    made.api.kubectl("rollout", "status", f"daemonset/{NAME}", f"--namespace={NAMESPACE}", "--timeout=120s")
    for rule in RULES:
        made.node.inside(*ROUTE, *rule)


def daemons(image: str, node: str) -> Object:
    """One a node, with the node's network and the one right that a queue of packets needs."""
    container = {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "Never",
        "args": [f"--hostname-override={node}", f"--nfqueue-id={QUEUE}", "--disable-nri", "--v=2"],
        "securityContext": {"runAsUser": 0, "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}},
    }
    labels = {"app": NAME}
    pod = {"hostNetwork": True, "serviceAccountName": NAME, "containers": [container]}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": NAME, "namespace": NAMESPACE}, "spec": spec}
