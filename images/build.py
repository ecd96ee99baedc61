#!/usr/bin/env python3
"""Builds the images that changed and publishes them: `make images`, `make push`.

Every directory with an `image.toml` beside its `Dockerfile` is an image: those here are the platform's, those under tests/e2e/images only
the tests' (`all`). Neighbours: the chart takes registry, tag and digest from what `--push` writes; `make e2e` takes the archives that
`--where` names. Invariants: nothing gets into a build but what `image.toml` lists, so the tag, a hash of exactly that, says what is inside;
an archive in the cache is complete (written under another name, then renamed). Cost: nothing is run when all is there; figures in
docs/benchmarks.md.

    build.py [--base local|REF] [--accelerator cpu|cuda] [NAME...]      build (default: the platform's images for the accelerator)
    build.py … --where                                                 print as JSON what is there (default: all); builds nothing
    build.py … --push REGISTRY                                         build what is missing, publish, write build/images.yaml for helm

`--base local` makes the base image from Debian packages and needs no registry. Environment: MSM_IMAGES_DIR (default
${XDG_CACHE_HOME:-~/.cache}/msm-images). Exit codes: 0 all there; 1 a build failed; 69 this machine cannot build, with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLACES = (ROOT / "images", ROOT / "tests" / "e2e" / "images")
VALUES = ROOT / "build" / "images.yaml"
UNABLE = 69
LOCAL = "local"
REGISTRY = "localhost"
SUITE, PYTHON = "bookworm", "3.11"
BASE_PACKAGES = ("ca-certificates", "netbase", "python3", "python3-pip", "python3-venv", "tzdata")
ACCELERATORS = ("cpu", "cuda")


class Unable(Exception):
    """What a machine that cannot build is missing."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is the same for every image of one call: where the base comes from, what training runs on."""

    base: str | None
    accelerator: str

    @property
    def base_reference(self) -> str | None:
        """The base's name as a Dockerfile is told; None leaves it its own."""
        return local_base() if self.base == LOCAL else self.base


@dataclass(frozen=True)
class Image:
    """One directory with a Dockerfile: what goes in, and what comes out under which name."""

    name: str
    directory: Path
    said: dict[str, Any]
    choice: Choice

    @property
    def is_ours(self) -> bool:
        """Whether it is the platform's, and not a stand-in for somebody else's."""
        return "reference" not in self.said

    @property
    def accelerators(self) -> list[str]:
        """What it can be built for, where that makes a difference."""
        return list(self.said.get("accelerators", ()))

    @cached_property
    def inputs(self) -> list[tuple[str, Path]]:
        """Path in the build -> file: what `files` lists, with directories unrolled, and binaries of tools/build.py."""
        listed = [ROOT / entry for entry in self.said.get("files", ())]
        if absent := [str(path.relative_to(ROOT)) for path in listed if not path.exists()]:
            raise SystemExit(f"{self.directory.relative_to(ROOT)}/image.toml: files: no {', '.join(absent)}")
        found = {str(path.relative_to(ROOT)): path for entry in listed for path in unrolled(entry)}
        return sorted({**found, **self.binaries}.items())

    @property
    def binaries(self) -> dict[str, Path]:
        """Name in the build -> binary that tools/build.py made."""
        wanted: dict[str, str] = self.said.get("binaries", {})
        built = tools() if wanted else {}
        if missing := [tool for tool in wanted.values() if tool not in built]:
            raise Unable(f"{self.name}: {', '.join(missing)} is not built yet; type: make cluster-tools, or tools/build.py with its set")
        return {name: Path(built[tool]) for name, tool in wanted.items()}

    @property
    def arguments(self) -> dict[str, str]:
        """What the Dockerfile is told with ARG."""
        base = self.choice.base_reference if self.said.get("base", True) else None
        told = {"BASE": base} if base else {}
        return {**told, **({"ACCELERATOR": self.choice.accelerator} if self.accelerators else {})}

    @cached_property
    def tag(self) -> str:
        """A hash of everything that goes in; with the accelerator where that makes a difference."""
        digest = hashlib.sha256(json.dumps([self.said, self.arguments], sort_keys=True).encode())
        for name, path in [("Dockerfile", self.directory / "Dockerfile"), *self.inputs]:
            digest.update(f"\0{name}\0{path.stat().st_mode & 0o111:o}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:12] + (f"-{self.choice.accelerator}" if self.accelerators else "")

    @property
    def repository(self) -> str:
        """Its name below a registry."""
        return f"msm-{self.name}"

    @property
    def reference(self) -> str:
        """What a pod calls it: upstream's name for a stand-in, so that upstream's manifests apply as they are."""
        return str(self.said.get("reference", f"{REGISTRY}/{self.repository}:{self.tag}"))

    @property
    def archive(self) -> Path:
        """Where its docker archive is, once built."""
        return cache_root() / f"{self.name}-{self.tag}.tar"

    @property
    def record(self) -> dict[str, Any]:
        """What was noted when it was built; empty when it is not there."""
        note = self.archive.with_suffix(".json")
        return json.loads(note.read_text()) if note.exists() and self.archive.exists() else {}


def unrolled(path: Path) -> list[Path]:
    """The files of a directory that belong into a build, or the file itself."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def images(choice: Choice) -> dict[str, Image]:
    """Every image by name, the platform's first."""
    found = [path.parent for place in PLACES for path in sorted(place.glob("*/image.toml"))]
    return {path.name: Image(path.name, path, tomllib.loads((path / "image.toml").read_text()), choice) for path in found}


def chosen(names: Sequence[str], choice: Choice) -> list[Image]:
    """The images asked for; without names the platform's own.

    Raises:
        SystemExit: there is no image of that name, or not for that accelerator.
    """
    every = images(choice)
    if unknown := sorted(set(names) - {*every, "all"}):
        raise SystemExit(f"no image {', '.join(unknown)}; there are {', '.join(every)}, all")
    fit = [image for image in every.values() if not image.accelerators or choice.accelerator in image.accelerators]
    if not names:
        return [image for image in fit if image.is_ours]
    picked = fit if "all" in names else [every[name] for name in names]
    if wrong := [image.name for image in picked if image not in fit]:
        raise SystemExit(f"{', '.join(wrong)} is not made for {choice.accelerator}: GPU clusters use upstream's image")
    return picked


def tools() -> dict[str, str]:
    """The binaries of tools/build.py: name -> path."""
    said = subprocess.run([sys.executable, str(ROOT / "tools" / "build.py"), "--where"], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(said.stdout)
    return found


def cache_root() -> Path:
    """Outside of the checkout, so that a clean clone finds what another one built."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MSM_IMAGES_DIR") or cache / "msm-images").resolve()


def local_base() -> str:
    """The name of the base that is made here: of what is inside."""
    inside = repr((SUITE, BASE_PACKAGES, (ROOT / "images" / "base" / "Dockerfile").read_text()))
    return f"{REGISTRY}/python:{PYTHON}-slim-{SUITE}-{hashlib.sha256(inside.encode()).hexdigest()[:8]}"


def needs(program: str, why: str) -> str:
    """The path of a program.

    Raises:
        Unable: it is not installed.
    """
    if (found := shutil.which(program)) is None:
        raise Unable(f"{program} is not on PATH; it {why} (Debian: apt-get install {program})")
    return found


def buildah(*arguments: str, quiet: bool = False) -> str:
    """Run buildah on a store of our own, which needs neither a daemon nor a configuration; what it printed, when quiet."""
    store = cache_root() / "store"
    where = ["--root", str(store), "--runroot", str(store) + "-run", "--storage-driver", "overlay"]
    command = [needs("buildah", "builds images without a daemon"), *where, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE if quiet else None, text=True, check=True)
    return (done.stdout or "").strip()


@contextlib.contextmanager
def only_builder(name: str) -> Iterator[None]:
    """Two builds of one image at a time would do everything twice: the second waits and finds it done."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def has_image(reference: str) -> bool:
    """Whether the store has an image of that name."""
    return bool(buildah("images", "--quiet", "--filter", f"reference={reference}", quiet=True))


def make_local_base() -> None:
    """Python on Debian from packages, under the name that `--base local` stands for, unless it is there."""
    name = local_base()
    if has_image(name):
        return
    mmdebstrap = needs("mmdebstrap", "makes the base image from Debian packages")
    with tempfile.TemporaryDirectory(dir=cache_root()) as context:
        packages = ",".join(BASE_PACKAGES)
        subprocess.run([mmdebstrap, "--variant=minbase", f"--include={packages}", SUITE, f"{context}/rootfs.tar"], check=True)
        dockerfile = str(ROOT / "images" / "base" / "Dockerfile")
        buildah("bud", "--isolation", "chroot", "--layers=false", "--tag", name, "--file", dockerfile, context)


def from_this_machine(directory: Path) -> list[str]:
    """What lets pip, uv and apt in RUN reach what this machine reaches; mounted, so that none of it gets into an image."""
    mounts = []
    if Path("/etc/ssl/certs").is_dir():
        (directory / "pip.conf").write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n")
        (directory / "uv.toml").write_text("system-certs = true\n")
        mounts += ["/etc/ssl/certs:/etc/ssl/certs:ro", f"{directory}/pip.conf:/etc/pip.conf:ro", f"{directory}/uv.toml:/etc/uv/uv.toml:ro"]
    wheels = Path(os.environ.get("UV_CACHE_DIR") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv")
    wheels.mkdir(parents=True, exist_ok=True)
    return ["--network", "host", "--isolation", "chroot", *(f"--volume={mount}" for mount in [*mounts, f"{wheels}:/root/.cache/uv"])]


def stage(image: Image, context: Path) -> None:
    """Lay what goes into a build where the Dockerfile looks for it."""
    for name, path in image.inputs:
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, context / name)


def build(image: Image) -> None:
    """One image into the store and into its archive; older archives of it are removed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=cache_root()) as beside:
        context = Path(beside, "context")
        context.mkdir()
        stage(image, context)
        told = [f"--build-arg={name}={value}" for name, value in image.arguments.items()]
        labels = [f"--label=dev.modelspec.content={image.tag}", f"--label=org.opencontainers.image.version={image.tag}"]
        pull = ["--pull=never"] if image.choice.base == LOCAL else []
        place = ["--layers", "--force-rm", "--tag", image.reference, "--file", str(image.directory / "Dockerfile"), str(context)]
        buildah("bud", *from_this_machine(Path(beside)), *pull, *told, *labels, *place)
    save(image)
    note = {"image": image.reference, "tag": image.tag, "mb": size_mb(image.reference), "seconds": round(time.monotonic() - began)}
    image.archive.with_suffix(".json").write_text(json.dumps(note))
    remove_older(image)
    print(json.dumps({"name": image.name, **note}), flush=True)


def save(image: Image) -> None:
    """The image as a docker archive."""
    part = image.archive.with_name(f".{image.archive.name}.part")
    part.unlink(missing_ok=True)
    buildah("push", "--quiet", image.reference, f"docker-archive:{part}:{image.reference}")
    part.rename(image.archive)


def size_mb(reference: str) -> int:
    """Size of an image in the store, its base included."""
    stated = json.loads(buildah("images", "--json", "--filter", f"reference={reference}", quiet=True))
    units = {"B": 1e-6, "KB": 1e-3, "MB": 1.0, "GB": 1e3}
    number, unit = stated[0]["size"].split()
    return round(float(number) * units[unit.upper()])


def remove_older(image: Image) -> None:
    """Archives and images of the same name with other contents: gigabytes each. One that is being run is left for the next time."""
    stored = buildah("images", "--format", "{{.Name}}:{{.Tag}}", quiet=True).split() if image.is_ours else []
    for name in stored:
        repository, _, tag = name.rpartition(":")
        if repository == f"{REGISTRY}/{image.repository}" and tag[12:] == image.tag[12:] and tag != image.tag:
            with contextlib.suppress(subprocess.CalledProcessError):
                buildah("rmi", name, quiet=True)
    suffix = f"-{image.choice.accelerator}" if image.accelerators else ""
    for old in cache_root().glob(f"{image.name}-{'[0-9a-f]' * 12}{suffix}.*"):
        if old.stem != image.archive.stem:
            old.unlink()


def build_missing(wanted: Sequence[Image]) -> list[str]:
    """Build what is not there; what this machine cannot build, with the reason."""
    unable = []
    for image in wanted:
        try:
            if image.record:
                continue
            needs("buildah", "builds images without a daemon")
            if image.choice.base == LOCAL:
                with only_builder("base"):
                    make_local_base()
            with only_builder(image.name):
                if not image.record:
                    build(image)
        except Unable as missing:
            unable.append(str(missing))
    return unable


def where(wanted: Sequence[Image]) -> dict[str, Any]:
    """What is there of the images asked for: name -> reference, archive, tag, size."""
    found = {}
    for image in wanted:
        with contextlib.suppress(Unable):
            if image.record:
                found[image.name] = {**image.record, "tar": str(image.archive)}
    return found


def push(wanted: Sequence[Image], registry: str) -> None:
    """Publish the platform's images and write what the chart is told: registry, tags, digests."""
    digests = {}
    for image in (image for image in wanted if image.is_ours):
        if not has_image(image.reference):
            buildah("pull", "--quiet", f"docker-archive:{image.archive}")
        with tempfile.NamedTemporaryFile("r") as digest:
            buildah("push", "--digestfile", digest.name, image.reference, f"docker://{registry}/{image.repository}:{image.tag}")
            digests[image.name] = (image, Path(digest.name).read_text().strip())
    VALUES.parent.mkdir(exist_ok=True)
    VALUES.write_text(values(registry, digests))
    print(f"images: published; tell the chart: helm install … -f {VALUES}", flush=True)


def values(registry: str, digests: dict[str, tuple[Image, str]]) -> str:
    """Values of the chart: where the images are, by digest. The server's image is by default upstream's, with a registry of its own."""
    lines = ["# Written by `make push`; give it to helm with -f.", "images:", f"  registry: {registry}"]
    for name, (image, digest) in digests.items():
        own = [f"    registry: {registry}"] if name == "serve" else []
        lines += [f"  {name}:", *own, f"    repository: {image.repository}", f"    tag: {image.tag}", f"    digest: {digest}"]
    return "\n".join(lines) + "\n"


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Build the platform's images.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="images, or `all` for the tests' too (default: the platform's)")
    parser.add_argument("--base", metavar="REF", help="base image; `local` makes one from Debian packages (default: the Dockerfiles' own)")
    parser.add_argument("--accelerator", choices=ACCELERATORS, default="cuda", help="what training runs on (default: cuda)")
    parser.add_argument("--where", action="store_true", help="print what is there as JSON and build nothing")
    parser.add_argument("--push", metavar="REGISTRY", help="publish the platform's images there")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Build, list or publish."""
    options = arguments(given)
    names = options.names or (["all"] if options.where else [])
    wanted = chosen(names, Choice(options.base, options.accelerator))
    if options.where:
        print(json.dumps(where(wanted), indent=1))
        return 0
    try:
        unable = build_missing(wanted)
        for reason in dict.fromkeys(unable):
            print(f"images: skipped: {reason}", file=sys.stderr)
        if unable:
            return UNABLE
        if options.push:
            push(wanted, options.push)
    except subprocess.CalledProcessError as failed:
        print(f"images: {' '.join(map(str, failed.cmd))} failed, see above", file=sys.stderr)
        return 1
    print(f"images: all of {', '.join(image.name for image in wanted)} in {cache_root()}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
