"""The node's first process: mounts what is the node's own, joins the link to the outside, keeps the components running.

Run as `python -S inside.py SPEC.json` by `box`, in new network, mount, process and cgroup namespaces; the standard library only. It is
what systemd is on another node: a component that ends is started again after a second, and each end is noted in `logs/ends.jsonl`.
Invariant: whatever is started here dies with this process, and every mount with its namespace.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
KERNEL = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What kubelet insists on. Private files lie over the machine's, which stay as they are."""
NETWORK = ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables", "net/ipv4/conf/all/route_localnet")
PRIVATE = ("/var/lib/kubelet", "/var/log/pods", "/var/log/containers", "/var/lib/cni")
"""Directories at fixed places; each is a directory of the node's own inside."""
IN_MEMORY = ("/run/containerd", "/run/netns")
LINK_SECONDS = 20.0
AGAIN_SECONDS = 1.0


def command(*arguments: str) -> None:
    """Run one command; its failure ends the node."""
    subprocess.run(arguments, check=True)


def mount_all(directory: Path, controllers: list[str]) -> None:
    """Everything that must not be the machine's."""
    command("mount", "-t", "proc", "proc", "/proc")
    command("mount", "-t", "sysfs", "sysfs", "/sys")
    mount_cgroups(controllers)
    for place in IN_MEMORY:
        Path(place).mkdir(parents=True, exist_ok=True)
        command("mount", "-t", "tmpfs", "tmpfs", place)
    for place in PRIVATE:
        own = directory / "private" / place.strip("/").replace("/", "-")
        own.mkdir(parents=True, exist_ok=True)
        Path(place).mkdir(parents=True, exist_ok=True)
        command("mount", "--bind", str(own), place)
    cover_kernel_settings(directory / "private" / "kernel")
    command("mount", "--make-rshared", "/")


def mount_cgroups(controllers: list[str]) -> None:
    """The hierarchies again, with this node's groups as their roots."""
    command("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(CGROUPS))
    for name in controllers:
        (CGROUPS / name).mkdir()
        command("mount", "-t", "cgroup", "-o", name, "cgroup", str(CGROUPS / name))
    (CGROUPS / "systemd").mkdir()
    command("mount", "-t", "cgroup", "-o", "none,name=systemd", "cgroup", str(CGROUPS / "systemd"))


def cover_kernel_settings(directory: Path) -> None:
    """Files with the wanted values over those of /proc/sys that are the whole machine's."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, value in KERNEL.items():
        file = directory / name.replace("/", "-")
        file.write_text(f"{value}\n")
        command("mount", "--bind", str(file), f"/proc/sys/{name}")


def join(address: str) -> None:
    """The network: a bridge with the node's address, the link that `box` gives, and a default route, which programs look for."""
    for name in NETWORK:
        Path(f"/proc/sys/{name}").write_text("1\n")
    command("ip", "link", "set", "lo", "up")
    command("ip", "link", "add", "node0", "type", "bridge")
    command("ip", "address", "add", f"{address}/24", "dev", "node0")
    command("ip", "link", "set", "node0", "up")
    command("ip", "route", "add", "default", "dev", "node0")
    deadline = time.monotonic() + LINK_SECONDS
    while not Path("/sys/class/net/outside0").exists():
        if time.monotonic() > deadline:
            raise SystemExit("the link to the outside did not come")
        time.sleep(0.02)
    command("ip", "link", "set", "outside0", "master", "node0", "up")


def reachable(address: str) -> bool:
    """Whether something listens: `host:port`, or the path of a socket."""
    try:
        if address.startswith("/"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(address)
        else:
            host, port = address.rsplit(":", 1)
            socket.create_connection((host, int(port)), 2).close()
    except OSError:
        return False
    return True


def keep(component: dict[str, Any], logs: Path) -> None:
    """Start a component whenever it does not run, as soon as what it needs listens."""
    while True:
        while not all(reachable(address) for address in component["after"]):
            time.sleep(0.1)
        began = time.time()
        with (logs / f"{component['name']}.log").open("ab") as log:
            environment = {**os.environ, **component["environment"]}
            process = subprocess.Popen(component["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
            code = process.wait()
        end = {"component": component["name"], "code": code, "ran_seconds": round(time.time() - began, 1)}
        with (logs / "ends.jsonl").open("a") as ends:
            ends.write(json.dumps(end) + "\n")
        time.sleep(AGAIN_SECONDS)


def supervise(spec: dict[str, Any]) -> None:
    """Mount, join, keep; then wait to be killed."""
    directory = Path(spec["directory"])
    mount_all(directory, spec["controllers"])
    join(spec["address"])
    for component in spec["components"]:
        threading.Thread(target=keep, args=(component, directory / "logs"), daemon=True).start()
    while True:
        signal.pause()


def main() -> None:
    """The first process itself only reaps whom nobody waits for, such as containers' shims; a child of it does the work."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    supervisor = os.fork()
    if supervisor == 0:
        supervise(spec)
    while os.wait()[0] != supervisor:
        pass
    sys.exit("the supervisor ended")


if __name__ == "__main__":
    main()
