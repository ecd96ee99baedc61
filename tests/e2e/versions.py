"""Versions of what was run, as the programs and pins themselves say."""

import subprocess
import sys
from importlib import metadata

from tests.e2e import archives


def found() -> list[tuple[str, str]]:
    """(what, version), for the page."""
    sys.path.insert(0, str(archives.BUILD.parents[1] / "tools"))
    import build

    pinned = {tool.name: tool.version for tool in build.TOOLS}
    wanted = ("k8s", "etcd", "coredns", "training-operator", "kserve", "network-policies", "helm4")
    tools = [(name, pinned[name]) for name in wanted]
    debian = [(name, said(name, "--version")) for name in ("containerd", "runc")]
    ours = [(name, one.reference) for name, one in archives.built().items() if name in archives.OURS]
    return [("this project", metadata.version("msm-platform")), *tools, *debian, *ours, ("Python", sys.version.split()[0])]


def said(*command: str) -> str:
    """The first line of what a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()[0]
