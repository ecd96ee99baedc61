"""Runs a command in a built image as a pod under Pod Security `restricted` would be run, and stricter: runc, uid 65532, root read-only, no
capability, no new privileges, and every shell, Perl and compiler of the image covered, so that what works needs none.

Neighbours: `test_images` asks; `images/build.py` has the store. Invariant: nothing is written into an image. Needs root, runc and buildah.
Cost: half a second a command beside the command itself.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
USER = 65532
HOST = "room"
"""The name that /etc/hosts has, as kubelet writes it: ranks look each other up by it."""
SHELLS = ("bash", "dash", "rbash", "sh", "perl", "busybox")
COMPILERS = ("as", "c++", "cc", "clang", "g++", "gcc", "ld", "make", "nvcc")
PATH = ("usr/local/bin", "usr/bin", "bin", "usr/sbin", "sbin")


class NotHere(Exception):
    """An image cannot be run here; the message says what to do."""


def builder() -> ModuleType:
    """images/build.py."""
    spec = importlib.util.spec_from_file_location("build_images", ROOT / "images" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_images"] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True, slots=True)
class Room:
    """A mounted image: its root, and what it says of itself."""

    root: Path
    config: Mapping[str, Any]
    record: Mapping[str, Any]
    covered: tuple[str, ...] = (*SHELLS, *COMPILERS)

    def programs(self, names: Sequence[str]) -> list[str]:
        """Which programs of these names it has, as paths in the image; links inside of it are followed."""
        found = [path for place in [*PATH, "opt/venv/bin"] for name in names if os.path.lexists(path := self.root / place / name)]
        return sorted({f"/{(self._inside(path)).relative_to(self.root)}" for path in found})

    def _inside(self, path: Path) -> Path:
        """Where a path leads, as long as it stays in the image: an absolute link does not, here."""
        followed = path.resolve()
        return followed if followed.is_relative_to(self.root) else path.parent.resolve() / path.name

    @contextlib.contextmanager
    def start(
        self, *command: str, environ: Mapping[str, str] | None = None, mounts: Mapping[Path, str] | None = None
    ) -> Iterator["Running"]:
        """Start a command (default: the image's own) and kill it at the end; `mounts`: directory here -> place in the image, writable."""
        with tempfile.TemporaryDirectory(prefix="msm-room-") as bundle:
            shown = {**os.environ, "TMPDIR": bundle}
            hosts = Path(bundle, "hosts")
            hosts.write_text(f"127.0.0.1 localhost {HOST}\n")
            spec = self._spec(command, environ or {}, {**(mounts or {}), hosts: "/etc/hosts"})
            Path(bundle, "config.json").write_text(json.dumps(spec))
            name = f"msm-{uuid.uuid4().hex[:12]}"
            with Path(bundle, "output").open("wb") as output:
                process = subprocess.Popen(["runc", "run", "--bundle", bundle, name], stdout=output, stderr=output, env=shown)
            try:
                yield Running(process, Path(bundle, "output"))
            finally:
                subprocess.run(["runc", "delete", "--force", name], capture_output=True, check=False)
                process.wait()

    def run(self, *command: str, within: float = 120, **options: Any) -> "Ended":
        """Run a command to its end."""
        with self.start(*command, **options) as running:
            code = running.process.wait(within)
            return Ended(code, running.said())

    def _spec(self, command: Sequence[str], environ: Mapping[str, str], mounts: Mapping[Path, str]) -> dict[str, Any]:
        said = self.config
        words = list(command) or [*(said.get("Entrypoint") or ()), *(said.get("Cmd") or ())]
        told = {**dict(one.split("=", 1) for one in said.get("Env") or ()), **environ}
        process = {
            "user": {"uid": USER, "gid": USER},
            "args": words,
            "env": [f"{name}={value}" for name, value in told.items()],
            "cwd": said.get("WorkingDir") or "/",
            "noNewPrivileges": True,
            "capabilities": {kind: [] for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")},
        }
        return {
            "ociVersion": "1.0.2",
            "hostname": HOST,
            "process": process,
            "root": {"path": str(self.root), "readonly": True},
            "mounts": [
                *PSEUDO,
                *({"destination": to, "type": "bind", "source": str(here), "options": ["bind", "rw"]} for here, to in mounts.items()),
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
                "maskedPaths": self.programs(self.covered),
            },
        }


PSEUDO = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
    {"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]},
]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    said: str


@dataclass(slots=True)
class Running:
    """A command that runs."""

    process: "subprocess.Popen[bytes]"
    output: Path
    began: float = field(default_factory=time.monotonic)

    def said(self) -> str:
        """What it printed until now."""
        return self.output.read_text(errors="replace")


@contextlib.contextmanager
def room(name: str) -> Iterator[Room]:
    """An image of the present state of the checkout, mounted.

    Raises:
        NotHere: it is not built, or this machine cannot run it.
    """
    if os.geteuid() != 0 or not (shutil.which("runc") and shutil.which("buildah")):
        raise NotHere("needs root, runc and buildah (Debian: apt-get install runc buildah)")
    build = builder()
    image = build.images(build.Choice(build.LOCAL, "cpu"))[name]
    try:
        built = bool(image.record)
    except build.Unable as missing:
        raise NotHere(str(missing)) from missing
    if not built:
        raise NotHere(f"{name} is not built; type: images/build.py --base local --accelerator cpu {name}")
    container = build.buildah("from", "--pull-never", image.reference, quiet=True)
    try:
        root = Path(build.buildah("mount", container, quiet=True))
        said = json.loads(build.buildah("inspect", "--type", "image", image.reference, quiet=True))
        yield Room(root, said["OCIv1"]["config"], image.record)
    finally:
        build.buildah("rm", container, quiet=True)
