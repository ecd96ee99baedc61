"""The chart binds the same rules as the tests do, and ships the definitions so that helm upgrades them; rendered by helm 4 and helm 3."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from msm.api.crd import DEFINITIONS
from tests.cluster import rbac
from tests.cluster.control_plane import ControlPlane, NotBuilt
from tests.cluster.control_plane.binaries import program

Object = dict[str, Any]
HOME = "msm-system"
STORE = ("--set", "store.uri=s3://bucket/prefix", "--set", "preflight.enabled=false")


def rendered(helm: str, *arguments: str) -> dict[tuple[str, str, str], Object]:
    """What helm makes of the chart, by kind, namespace and name."""
    try:
        command = [
            str(program(helm)),
            "template",
            "msm",
            str(rbac.CHART),
            "--namespace",
            HOME,
            "--kube-version",
            "v1.36.4",
            *STORE,
            *arguments,
        ]
    except NotBuilt as missing:
        pytest.skip(f"cluster lane: {missing}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return by_identity(
        [one for one in yaml.safe_load_all(done.stdout) if one and "helm.sh/hook" not in one["metadata"].get("annotations", {})]
    )


def by_identity(objects: list[Object]) -> dict[tuple[str, str, str], Object]:
    found = {(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in objects}
    assert len(found) == len(objects)
    return found


@pytest.mark.parametrize("helm", ["helm", "helm3"])
@pytest.mark.parametrize("watched", [(), ("team-one", "team-two")], ids=["all namespaces", "two namespaces"])
def test_the_chart_grants_what_the_tests_grant(helm: str, watched: tuple[str, ...]) -> None:
    chosen = ["--set-json", f"watchNamespaces={json.dumps(watched)}", "--set", "crds.install=false"]
    found = {key: one for key, one in rendered(helm, *chosen).items() if key[0] in ("ServiceAccount", *KINDS)}
    assert found == by_identity(rbac.objects(HOME, watched))


KINDS = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


def test_nothing_is_granted_where_somebody_else_does() -> None:
    found = rendered("helm", "--set", "rbac.create=false", "--set", "serviceAccount.create=false")
    assert not [key for key in found if key[0] in ("ServiceAccount", *KINDS)]


def test_the_definitions_are_rendered_like_anything_else_and_kept() -> None:
    found = rendered("helm")
    for definition in DEFINITIONS:
        assert found["CustomResourceDefinition", "", definition.name] == definition.to_dict()
    assert not [key for key in rendered("helm", "--set", "crds.install=false") if key[0] == "CustomResourceDefinition"]


def test_helm_installs_upgrades_and_keeps_the_definitions(definitions: ControlPlane, tmp_path: Path) -> None:
    try:
        helm = [str(program("helm")), "--kubeconfig", str(definitions.kubeconfig), "--namespace", "msm-chart"]
    except NotBuilt as missing:
        pytest.skip(f"cluster lane: {missing}")
    api = definitions.api
    home = {f"HELM_{name}_HOME": str(tmp_path / name) for name in ("CACHE", "CONFIG", "DATA")}

    def do(*arguments: str) -> None:
        subprocess.run([*helm, *arguments], env={**os.environ, **home}, check=True)

    chosen = ["--set", "watchNamespaces={msm-chart}", "--set", "rbac.aggregate=false", *STORE, "--take-ownership", "--force-conflicts"]
    do("install", "msm", str(rbac.CHART), "--create-namespace", *chosen)
    api.kubectl("patch", "crd", "msmruns.modelspec.dev", "--type=json", "-p", json.dumps(WITHOUT_COLUMNS))
    do("upgrade", "msm", str(rbac.CHART), *chosen)
    columns = api.get("crd", "msmruns.modelspec.dev")["spec"]["versions"][0]["additionalPrinterColumns"]
    assert columns == DEFINITIONS[0].to_dict()["spec"]["versions"][0]["additionalPrinterColumns"]
    do("uninstall", "msm")
    assert api.get("crd", "msmruns.modelspec.dev")["metadata"]["name"] == "msmruns.modelspec.dev"


WITHOUT_COLUMNS = [{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns"}]
