"""The chart rendered by helm, for tests without a cluster; skipped with the reason where helm is not built."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.control_plane.binaries import NotBuilt, program

Object = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "msm"
HOME = "msm-system"
HELMS = ("helm", "helm3")
RENDER = ("template", "msm", str(CHART), "--namespace", HOME, "--kube-version", "v1.36.4")
"""With a version of Kubernetes: a helm 3 out of its Go module takes 1.20 for the present one."""
STORE = ("--set", "store.uri=s3://bucket/prefix")


def helm(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """What a helm command says."""
    try:
        command = [str(program(name)), *arguments]
    except NotBuilt as missing:
        pytest.skip(str(missing))
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refused(name: str, *arguments: str) -> str:
    """What helm has against rendering the chart."""
    done = helm(name, *RENDER, *arguments)
    assert done.returncode != 0, "it was rendered"
    return done.stderr


def rendered(*arguments: str, name: str = "helm") -> list[Object]:
    """What the chart makes with a store and `arguments`, without the definitions."""
    done = helm(name, *RENDER, "--set", "crds.install=false", *STORE, *arguments)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def one(objects: list[Object], kind: str, name: str) -> Object:
    """The only object of a kind and name."""
    (found,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def kinds(objects: list[Object]) -> set[tuple[str, str]]:
    """Kind and name of each."""
    return {(o["kind"], o["metadata"]["name"]) for o in objects}


def templates(objects: list[Object]) -> dict[str, Object]:
    """The pod specs of everything that makes pods of ours, by kind and name."""
    found = {}
    for o in objects:
        spec = o["spec"] if o["kind"] == "Pod" else o.get("spec", {}).get("template", {}).get("spec")
        if spec is not None:
            found[f"{o['kind']}/{o['metadata']['name']}"] = spec
    return found


def environment(container: Object) -> dict[str, str]:
    """Plain variables, and references as `secret/key`."""
    found = {}
    for entry in container["env"]:
        ref = entry.get("valueFrom", {}).get("secretKeyRef")
        found[entry["name"]] = f"{ref['name']}/{ref['key']}" if ref else str(entry.get("value", ""))
    return found
