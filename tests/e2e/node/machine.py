"""What this machine lacks for a node of its own. Asked before anything is started; the answer is what is printed when `make e2e` skips."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.cluster.control_plane.binaries import is_built

CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
"""What kubelet wants of cgroup v1."""
PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "iptables": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "unshare": "util-linux",
    "mount": "mount",
}
CNI = Path("/usr/lib/cni")
BUILT = {
    "core": ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"),
    "node": ("kubelet", "kube-proxy", "coredns", "pause"),
    "train": ("training-operator",),
    "serve": ("kserve-manager",),
    "cli": ("helm",),
}
ROOM_GB = 20
"""Weights, checkpoints and scratch of a whole run, and images that are not unpacked yet."""
NAMESPACES = ("--net", "--mount", "--pid", "--cgroup", "--fork")


def lacks(*sets: str) -> list[str]:
    """One sentence for each thing that is missing, each with what to do; `sets` are those of tools/build.py that are needed."""
    if os.geteuid():
        return ["not root: namespaces, mounts and cgroups need it; run it as root"]
    return [*_programs(), *_cgroups(), *_namespaces(), *_room(), *_built(sets)]


def _programs() -> list[str]:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    packages = {package for program, package in PACKAGES.items() if shutil.which(program, path=path) is None}
    if not (CNI / "bridge").exists():
        packages.add("containernetworking-plugins")
    return [f"missing programs; type: apt-get install --no-install-recommends {' '.join(sorted(packages))}"] if packages else []


def _cgroups() -> list[str]:
    missing = [name for name in CONTROLLERS if not Path(f"/sys/fs/cgroup/{name}/cgroup.procs").exists()]
    return [f"no cgroup v1 controllers {', '.join(missing)}: the node is written for cgroup v1"] if missing else []


def _namespaces() -> list[str]:
    if shutil.which("unshare") is None:
        return []
    tried = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return [f"namespaces cannot be made: {tried.stderr.strip()}"] if tried.returncode else []


def _room() -> list[str]:
    free = shutil.disk_usage(Path.home()).free / 1e9
    return [f"only {free:.0f} GB of disk are free in {Path.home()}; {ROOM_GB} are needed"] if free < ROOM_GB else []


def _built(sets: tuple[str, ...]) -> list[str]:
    missing = [one for one in sets if not is_built(*BUILT[one])]
    return [f"not built; type: tools/build.py {' '.join(missing)}"] if missing else []
