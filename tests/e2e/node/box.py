"""The node's namespaces, its control groups and its link to the test process: made, entered, left without a trace.

Neighbours: `inside` is the first process of the box, `node` says what runs in it. Invariants: everything in the box dies with the process
that made it (the kernel sees to it, see `tied`); mounts, interfaces and routes vanish with the namespaces; what is left then, control
groups and files, is removed by `close`, or by the next `clear` after a test process that was killed.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.control_plane.processes import TIED
from tests.e2e.node.layout import Layout
from tests.e2e.node.machine import CONTROLLERS

INSIDE = Path(__file__).with_name("inside.py")
HIERARCHIES = Path("/sys/fs/cgroup")
ENTER = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ > "$1/cgroup.procs"; shift; n=$((n-1)); done; exec "$@"'
"""Shell: join the first $1 directories' groups, then become the rest."""
END_SECONDS = 60.0


class BoxDidNotStart(Exception):
    """The box ended at once, or its first process was not seen."""


@dataclass(slots=True)
class Box:
    """A box that runs; `process` is the one outside that everything hangs on."""

    layout: Layout
    process: subprocess.Popen[bytes]
    first: int
    """Process id of the box's first process, as seen from outside."""
    groups: list[Path] = field(default_factory=list)

    def is_running(self) -> bool:
        """Whether the box has not ended."""
        return self.process.poll() is None

    def pids(self) -> list[int]:
        """Every process in the box and in its containers, by ids of the outside."""
        return _pids(_group("pids", self.layout.name))

    def running(self, program: Path) -> list[int]:
        """The processes of one program."""
        return [pid for pid in self.pids() if _program(pid) == program]

    def command(self, *arguments: str) -> list[str]:
        """A command line that runs `arguments` within the box: namespaces and control groups."""
        enter = ["sh", "-c", ENTER, "enter", str(len(self.groups)), *map(str, self.groups)]
        return [*enter, "nsenter", f"--target={self.first}", "--net", "--mount", "--pid", "--cgroup", "--", *arguments]

    def close(self) -> None:
        """End everything in it and remove its control groups."""
        self.process.kill()
        self.process.wait()
        clear(self.layout)


def open_box(layout: Layout, components: list[dict[str, Any]]) -> Box:
    """Start a box that keeps the components running.

    Raises:
        BoxDidNotStart: it ended at once.
    """
    clear(layout)
    groups = [_make_group(name, layout.name) for name in (*CONTROLLERS, "systemd")]
    spec = layout.directory / "box.json"
    wanted = {"directory": str(layout.directory), "address": layout.address, "controllers": CONTROLLERS, "components": components}
    spec.write_text(json.dumps(wanted, indent=1))
    process = _start(layout, groups, spec)
    try:
        first = _first_process(layout, process)
        _link(layout, first)
    except BaseException:
        process.kill()
        process.wait()
        clear(layout)
        raise
    return Box(layout, process, first, groups)


def clear(layout: Layout) -> None:
    """Remove what a box of this name left: processes first, then control groups.

    The link goes with the box, but the kernel takes its time for that: it is removed at once.

    Raises:
        TimeoutError: something does not go.
    """
    if Path("/sys/class/net", _link_name(layout)).exists():
        subprocess.run(["ip", "link", "delete", _link_name(layout)], capture_output=True, check=False)
    pids, deadline = _group("pids", layout.name), time.monotonic() + END_SECONDS
    while left := [*_kill(pids), *_remove_groups(layout.name)]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"still there: {left}")
        time.sleep(0.1)


def _start(layout: Layout, groups: list[Path], spec: Path) -> subprocess.Popen[bytes]:
    enter = ["/bin/sh", "-c", ENTER, "enter", str(len(groups)), *map(str, groups)]
    unshare = ["unshare", "--net", "--mount", "--pid", "--cgroup", "--fork", "--kill-child", "--propagation=private"]
    command = [sys.executable, "-S", str(TIED), str(os.getpid()), *enter, *unshare, sys.executable, "-S", str(INSIDE), str(spec)]
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    with (layout.logs / "box.log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)


def _first_process(layout: Layout, process: subprocess.Popen[bytes]) -> int:
    """The child of `unshare`, seen from outside."""
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            if children and _is_apart(int(children[0])):
                return int(children[0])
        time.sleep(0.02)
    raise BoxDidNotStart((layout.logs / "box.log").read_text(errors="replace")[-2000:])


def _is_apart(pid: int) -> bool:
    """Whether a process has a network of its own."""
    return Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()


def _link(layout: Layout, first: int) -> None:
    """A pair of interfaces, one here and one in the box, and routes to pods and Services through it. It goes when the box does."""
    here = _link_name(layout)
    _ip("link", "add", here, "type", "veth", "peer", "name", "outside0", "netns", str(first))
    _ip("address", "add", f"{layout.outside}/24", "dev", here)
    _ip("link", "set", here, "up")
    for addresses in (layout.pods, layout.services):
        _ip("route", "replace", addresses, "via", layout.address)


def _link_name(layout: Layout) -> str:
    """The end of the link that is here; the kernel takes fifteen characters."""
    return f"v-{layout.name}"[:15]


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BoxDidNotStart(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _group(controller: str, name: str) -> Path:
    """The node's control group of one controller, below this process's own."""
    wanted = "name=systemd" if controller == "systemd" else controller
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if wanted in controllers.split(","):
            return HIERARCHIES / controller / path.strip("/") / name
    return HIERARCHIES / controller / name


def _make_group(controller: str, name: str) -> Path:
    group = _group(controller, name)
    group.mkdir(exist_ok=True)
    if controller == "cpuset":
        for file in ("cpuset.cpus", "cpuset.mems"):
            (group / file).write_text((group.parent / file).read_text())
    return group


def _pids(group: Path) -> list[int]:
    found: set[int] = set()
    for file in group.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            found.update(map(int, file.read_text().split()))
    return sorted(found)


def _program(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/exe").readlink()
    except OSError:
        return None


def _kill(group: Path) -> list[int]:
    """Kill whoever is in a group; who was there."""
    pids = _pids(group)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids


def _remove_groups(name: str) -> list[Path]:
    """Remove the node's groups, the deepest first; those that would not go yet."""
    left = []
    for controller in (*CONTROLLERS, "systemd"):
        group = _group(controller, name)
        for directory in _deepest_first(group):
            try:
                directory.rmdir()
            except OSError:
                left.append(directory)
    return left


def _deepest_first(group: Path) -> Iterator[Path]:
    if group.is_dir():
        yield from sorted((one for one in group.rglob("*") if one.is_dir()), key=lambda one: -len(one.parts))
        yield group
