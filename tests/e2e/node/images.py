"""Images for the node: archives of single static programs, and the store that keeps what was loaded.

An image of one program needs no builder: it is a tar of a configuration and a layer. Neighbours: `images/` of the project has those with
Python in them. Invariant: what is in the store under a name is what the archive of that name held last; it is unpacked once.
"""

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.control_plane.binaries import program
from tests.e2e.node.layout import Layout

LOADED = "loaded.json"
"""Beside containerd's own files: name -> digest of the configuration that was loaded under it."""


def pause(archive: Path, name: str) -> Path:
    """The image of every pod's first container."""
    return of_programs(archive, name, {"pause": program("pause")}, ["/pause"])


def of_programs(archive: Path, name: str, files: Mapping[str, Path], entrypoint: Sequence[str], user: str = "65532:65532") -> Path:
    """Write an image that holds static programs at its root and nothing else; the same programs make the same bytes."""
    layer = _layer(files)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "User": user, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        },
        sort_keys=True,
    ).encode()
    named = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": named, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(archive, "w") as tar:
        for file, content in {"manifest.json": manifest, named: config, "layer.tar": layer}.items():
            tar.addfile(_entry(file, len(content)), io.BytesIO(content))
    return archive


def _layer(files: Mapping[str, Path]) -> bytes:
    """A tar with /tmp and the programs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        temporary = _entry("tmp", 0, 0o1777)
        temporary.type = tarfile.DIRTYPE
        tar.addfile(temporary)
        for name, path in sorted(files.items()):
            content = path.read_bytes()
            tar.addfile(_entry(name, len(content), 0o755), io.BytesIO(content))
    return buffer.getvalue()


def _entry(name: str, size: int, mode: int = 0o644) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, mode
    return entry


def load(layout: Layout, archive: Path) -> bool:
    """Bring every image of an archive into the store; False where all of them are in it."""
    wanted = contents(archive)
    record = layout.images / LOADED
    loaded: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    there = ctr(layout, "images", "list", "--quiet").split()
    if all(loaded.get(name) == digest and name in there for name, digest in wanted.items()):
        return False
    ctr(layout, "images", "import", "--digests=false", str(archive))
    record.write_text(json.dumps({**loaded, **wanted}, indent=1))
    return True


def ctr(layout: Layout, *arguments: str) -> str:
    """What containerd's own command prints, in the namespace that kubelet uses."""
    command = ["ctr", f"--address={layout.socket}", "--namespace=k8s.io", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def contents(archive: Path) -> dict[str, str]:
    """Names in an archive, each with the digest of its configuration."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None, f"{archive} has no manifest.json: it is no archive of `docker save` or `buildah push docker-archive:`"
        return {name: one["Config"] for one in json.load(file) for name in one["RepoTags"]}
