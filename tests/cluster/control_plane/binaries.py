"""Where the built programs and the YAML of other projects are; says what to type when they are not.

Neighbour: `tools/build.py` made them and knows where. Nothing is built here: a test that compiles Kubernetes is a surprise.
"""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

BUILD = Path(__file__).resolve().parents[3] / "tools" / "build.py"
SET_OF = {
    **dict.fromkeys(("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"), "core"),
    **dict.fromkeys(("kwok", "training-operator"), "train"),
    **dict.fromkeys(("kserve-manager", "kserve"), "serve"),
    "kueue": "queue",
    **dict.fromkeys(("helm", "helm3", "kubeconform"), "cli"),
    **dict.fromkeys(("kubelet", "kube-proxy", "coredns", "pause"), "node"),
}


class NotBuilt(Exception):
    """A program that a test needs is not in the cache."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not built; type: tools/build.py {SET_OF.get(name.removeprefix('manifests/'), '')}".strip())


@cache
def _where() -> dict[str, str]:
    printed = subprocess.run([sys.executable, str(BUILD), "--where"], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, str] = json.loads(printed.stdout)
    return found


def program(name: str) -> Path:
    """The path of a built program.

    Raises:
        NotBuilt: it is not in the cache.
    """
    if name not in _where():
        raise NotBuilt(name)
    return Path(_where()[name])


def is_built(*names: str) -> bool:
    """Whether all of these programs are in the cache."""
    return all(name in _where() for name in names)


def manifests(project: str) -> Path:
    """The YAML that the build copied from a project's Go module, at the paths it has there."""
    name = f"manifests/{project}"
    if name not in _where():
        raise NotBuilt(name)
    return Path(_where()[name])


def objects(*files: Path) -> list[dict[str, Any]]:
    """The objects in YAML files. libyaml: KServe's definitions take a minute in pure Python."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [one for file in files for one in yaml.load_all(file.read_text(encoding="utf-8"), Loader=loader) if one]
