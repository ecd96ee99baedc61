"""The wall around the pods of a run or an EvalDeployment: a NetworkPolicy that lets them reach what they need and nothing else.

Pure. Neighbours: `controllers.walls` applies it before the first pod. Invariants: default-deny in both directions; only its own pods reach
a pod; what is reached is DNS, its own pods, the places that it names, and what the installation adds. A place is an address: one inside the
cluster opens its namespace, since a policy is about pods and their ports, which a Service's name and port do not tell; one that is a name
outside opens its port, since no policy knows names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from msm_operator.runtime.resources import NETWORK_POLICIES

Rule = dict[str, Any]
NAMESPACE = "kubernetes.io/metadata.name"
"""Label that every namespace has, with its name."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What the installation says of the network: peers that answer DNS (none: port 53 anywhere), and further egress rules."""

    dns: tuple[Mapping[str, Any], ...] = ()
    egress: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Inside:
    """Whose wall it is: the object, how it is called, and the label by which its pods are known."""

    name: str
    namespace: str
    mark: tuple[str, str]
    labels: Mapping[str, str]
    owner: Mapping[str, Any]
    places: frozenset[str] = field(default_factory=frozenset)
    """Addresses (URLs) that its pods ask."""


def wall(inside: Inside, outside: Outside) -> dict[str, Any]:
    """The policy."""
    key, value = inside.mark
    own = {"podSelector": {"matchLabels": {key: value}}}
    places = _unique(_place(url, inside.namespace) for url in sorted(inside.places))
    spec = {
        **own,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [own]}],
        "egress": [{"to": [own]}, _dns(outside), *places, *(dict(rule) for rule in outside.egress)],
    }
    metadata = {
        "name": inside.name,
        "namespace": inside.namespace,
        "labels": dict(inside.labels),
        "ownerReferences": [dict(inside.owner)],
    }
    return {"apiVersion": NETWORK_POLICIES.api_version, "kind": NETWORK_POLICIES.kind, "metadata": metadata, "spec": spec}


def _dns(outside: Outside) -> Rule:
    if outside.dns:
        return {"to": [dict(peer) for peer in outside.dns]}
    return {"ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]}


def _place(url: str, own_namespace: str) -> Rule:
    """The rule that lets an address be reached."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    ports = [{"port": parts.port or (80 if parts.scheme == "http" else 443), "protocol": "TCP"}]
    namespace = _namespace(host, own_namespace)
    if namespace is not None:
        return {"to": [{"namespaceSelector": {"matchLabels": {NAMESPACE: namespace}}}]}
    block = _block(host)
    return {"ports": ports} if block is None else {"to": [{"ipBlock": {"cidr": block}}], "ports": ports}


def _namespace(host: str, own: str) -> str | None:
    """The namespace of a Service's name; None for what is outside, or is no such name."""
    labels = host.split(".")
    if len(labels) == 1 and _block(host) is None:
        return own
    return labels[1] if len(labels) >= 3 and labels[2] == "svc" else None


def _block(host: str) -> str | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return f"{address}/{address.max_prefixlen}"


def _unique(rules: Iterable[Rule]) -> list[Rule]:
    found: list[Rule] = []
    for rule in rules:
        if rule not in found:
            found.append(rule)
    return found
