"""The operator's rights as the chart grants them, for tests that run without helm.

Neighbours: `charts/msm/files/rbac/rules.yaml` says who may do what and is read by the chart as well; `test_chart_rbac` checks that the
chart's template binds the rules exactly as this module does. Operators under test run with the token of `SERVICE_ACCOUNT`, never as
administrator.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.control_plane import ControlPlane

Object = dict[str, Any]
CHART = Path(__file__).resolve().parents[2] / "charts" / "msm"
SERVICE_ACCOUNT = "msm-operator"
GROUP = "rbac.authorization.k8s.io"


@cache
def rules() -> Object:
    """What the chart ships."""
    found: Object = yaml.safe_load((CHART / "files" / "rbac" / "rules.yaml").read_text(encoding="utf-8"))
    return found


def objects(namespace: str, watched: Sequence[str] = ()) -> list[Object]:
    """ServiceAccount, roles and bindings of an installation in `namespace`; without `watched` it follows all namespaces."""
    account: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": SERVICE_ACCOUNT, "namespace": namespace}}
    found = [account, *_bound("msm-operator-lease", rules()["lease"], namespace, namespace)]
    for each in watched:
        found += _bound("msm-operator", [*rules()["operator"], *rules()["secretsOfRuns"]], namespace, each)
    if not watched:
        found += _bound("msm-operator", rules()["operator"], namespace, "")
    return [*found, *(_for_people(who, role) for who, role in rules()["people"].items())]


def install(plane: ControlPlane, namespace: str, watched: Sequence[str] = ()) -> Path:
    """Grant the operator's rights; a kubeconfig with the token of its ServiceAccount."""
    plane.api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}, *objects(namespace, watched))
    return plane.service_account(namespace, SERVICE_ACCOUNT)


def _bound(name: str, granted: list[Object], account: str, where: str) -> list[Object]:
    """A role with its binding; in all namespaces when `where` is empty."""
    kind = "Role" if where else "ClusterRole"
    metadata = {"name": name} | ({"namespace": where} if where else {})
    subject = {"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": account}
    binding = {"roleRef": {"apiGroup": GROUP, "kind": kind, "name": name}, "subjects": [subject]}
    return [
        {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata, "rules": granted},
        {"apiVersion": f"{GROUP}/v1", "kind": f"{kind}Binding", "metadata": metadata, **binding},
    ]


def _for_people(who: str, role: Object) -> Object:
    labels = {f"{GROUP}/aggregate-to-{other}": "true" for other in role["aggregateTo"]}
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": f"msm-{who}", "labels": labels},
        "rules": role["rules"],
    }
