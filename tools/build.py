#!/usr/bin/env python3
"""Builds the control plane that the cluster tests run, from the Go modules pinned beside this file.

Neighbours: `tests/cluster/control_plane` starts what lies in the cache, `make test-cluster` calls this program first. One Go module per
upstream project, because a merged one would raise shared libraries (controller-runtime, cel-go, otel) under projects that do not compile
with them. Invariant: a file in the cache is complete (written under another name, then renamed) and belongs to the key of its directory:
the hash of what determines it, so that changing one pin rebuilds one project. Cost: figures in docs/benchmarks.md; nothing is run when
all is there.

    build.py [--budget SECONDS] [--jobs N] [SET...]     sets: core train serve queue cli node (default: core train)
    build.py --where                                    print the directories as JSON and build nothing

Environment: MSM_TOOLS_DIR (default ${XDG_CACHE_HOME:-~/.cache}/msm-tools), GO (default: `go` on PATH). Exit codes: 0 all there; 69 no Go;
75 the budget was spent, what is missing is named.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
NO_GO, BUDGET_SPENT = 69, 75
FLAGS = ("-trimpath", "-pgo=off")  # the same for every binary, else the build cache shares nothing
ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOTOOLCHAIN": "local"}
STRIP = "-s -w -buildid="


class NoGo(Exception):
    """There is no Go compiler here."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One upstream project: its Go module, what is compiled from it, and the YAML that tests read from it."""

    name: str
    group: str
    module: str
    binaries: dict[str, str]
    stamps: tuple[str, ...] = ()
    manifests: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        """Where its go.mod and go.sum are."""
        return HERE / self.name

    @property
    def version(self) -> str:
        """The pinned version, such as v1.36.4."""
        pin = re.search(rf"^(?:require\s+|\t){re.escape(self.module)} (v\S+)", self.directory.joinpath("go.mod").read_text(), re.MULTILINE)
        if pin is None:
            raise SystemExit(f"tools/{self.name}/go.mod: no version of {self.module}")
        return pin[1]

    @property
    def key(self) -> str:
        """The hash of everything that determines the output but the compiler's patch release, which is recorded instead."""
        parts = [self.directory.joinpath(name).read_bytes() for name in ("go.mod", "go.sum")]
        parts.append(repr((self.binaries, self.linker_flags, self.manifests, FLAGS, sorted(ENVIRONMENT.items()))).encode())
        parts.extend(source.read_bytes() for source in sorted(self.directory.rglob("*.go")))
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]

    @property
    def linker_flags(self) -> str:
        """Strip, and stamp the version where the project expects its own release scripts to."""
        return " ".join([STRIP, *(f"-X {stamp}" for stamp in self.stamps)])


def kubernetes_stamps(version: str) -> tuple[str, ...]:
    """What `kubectl version` and /version report; without it they say v0.0.0-master."""
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitCommit": "0" * 40, "gitTreeState": "clean"}
    values["buildDate"] = "2026-01-01T00:00:00Z"
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return tuple(f"{package}.{name}={value}" for package in packages for name, value in values.items())


K8S = "k8s.io/kubernetes"
K8S_VERSION = "v1.36.4"
TOOLS = (
    Tool("etcd", "core", "go.etcd.io/etcd/server/v3", {"etcd": "go.etcd.io/etcd/server/v3"}),
    Tool(
        "k8s",
        "core",
        K8S,
        {name: f"{K8S}/cmd/{name}" for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")},
        kubernetes_stamps(K8S_VERSION),
    ),
    Tool("kwok", "train", "sigs.k8s.io/kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}),
    Tool(
        "training-operator",
        "train",
        "github.com/kubeflow/training-operator",
        {"training-operator": "github.com/kubeflow/training-operator/cmd/training-operator.v1"},
        manifests=("manifests/base/crds/kubeflow.org_pytorchjobs.yaml", "manifests/base/webhook", "manifests/base/rbac"),
    ),
    Tool(
        "kserve",
        "serve",
        "github.com/kserve/kserve",
        {"kserve-manager": "github.com/kserve/kserve/cmd/manager"},
        manifests=("config/crd/full", "config/configmap", "config/webhook", "config/rbac"),
    ),
    Tool(
        "kueue",
        "queue",
        "sigs.k8s.io/kueue",
        {"kueue": "sigs.k8s.io/kueue/cmd/kueue"},
        manifests=("config/components/crd/bases", "config/components/webhook", "config/components/rbac"),
    ),
    Tool(
        "helm4",
        "cli",
        "helm.sh/helm/v4",
        {"helm": "helm.sh/helm/v4/cmd/helm"},
        ("helm.sh/helm/v4/internal/version.version=v4.2.4", "helm.sh/helm/v4/internal/version.gitTreeState=clean"),
    ),
    Tool(
        "helm3",
        "cli",
        "helm.sh/helm/v3",
        {"helm3": "helm.sh/helm/v3/cmd/helm"},
        ("helm.sh/helm/v3/internal/version.version=v3.21.4", "helm.sh/helm/v3/internal/version.gitTreeState=clean"),
    ),
    Tool(
        "kubeconform",
        "cli",
        "github.com/yannh/kubeconform",
        {"kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform"},
        ("main.version=v0.7.0",),
    ),
    Tool("k8s", "node", K8S, {name: f"{K8S}/cmd/{name}" for name in ("kubelet", "kube-proxy")}, kubernetes_stamps(K8S_VERSION)),
    Tool(
        "network-policies",
        "node",
        "sigs.k8s.io/kube-network-policies",
        {"network-policies": "sigs.k8s.io/kube-network-policies/cmd"},
        manifests=("install.yaml",),
    ),
    Tool("coredns", "node", "github.com/coredns/coredns", {"coredns": ".", "pause": "./pause"}),
)
GROUPS = tuple(dict.fromkeys(tool.group for tool in TOOLS))


def cache_root() -> Path:
    """Outside of the checkout, so that a clean clone finds what another one built."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MSM_TOOLS_DIR") or cache / "msm-tools").resolve()


def place(tool: Tool) -> Path:
    """The directory of one tool at its present key: `bin/` and `manifests/`."""
    return cache_root() / f"{tool.name}-{tool.key}"


def where() -> dict[str, str]:
    """Every binary and manifest directory that is there: name or `manifests/<tool>` -> path."""
    found: dict[str, str] = {}
    for tool in TOOLS:
        found |= {name: str(place(tool) / "bin" / name) for name in tool.binaries if (place(tool) / "bin" / name).exists()}
        if tool.manifests and (place(tool) / "manifests").exists():
            found[f"manifests/{tool.name}"] = str(place(tool) / "manifests")
    return found


def go_command() -> str:
    """The Go compiler.

    Raises:
        NoGo: neither GO nor PATH has one.
    """
    named = os.environ.get("GO")
    found = shutil.which(named) if named else shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if found is None:
        raise NoGo("no Go compiler on PATH (https://go.dev/dl); or set GO, or restore MSM_TOOLS_DIR from a cache")
    return found


def go(directory: Path, *arguments: str) -> str:
    """Run one Go command in a module; what it prints. Its errors go to standard error."""
    command = [go_command(), *arguments]
    return subprocess.run(
        command, cwd=directory, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


@contextlib.contextmanager
def only_builder(tool: Tool) -> Iterator[None]:
    """Two builds of one tool at a time would compile everything twice: the second waits and finds it done."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / f".{tool.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"tools: another build of {tool.name} is under way; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(slots=True)
class Build:
    """One call of this program: how much it may still start, and what it did not."""

    jobs: int
    budget_seconds: float
    started: float = field(default_factory=time.monotonic)
    left: list[str] = field(default_factory=list)

    def tool(self, tool: Tool) -> None:
        """Everything of one tool, manifests last: they need the module, which the compiler downloads."""
        with only_builder(tool):
            for name, package in tool.binaries.items():
                self.binary(tool, name, package)
            if tool.manifests and not (place(tool) / "manifests").exists():
                copy_manifests(tool)

    def binary(self, tool: Tool, name: str, package: str) -> None:
        """Compile one command unless it is there or the budget is spent."""
        out = place(tool) / "bin" / name
        if out.exists():
            return
        if time.monotonic() - self.started > self.budget_seconds:
            self.left.append(name)
            return
        out.parent.mkdir(parents=True, exist_ok=True)
        before, cpu_before = time.monotonic(), child_cpu_seconds()
        part = out.with_name(f".{name}.part")
        go(tool.directory, "build", f"-p={self.jobs}", *FLAGS, "-ldflags", tool.linker_flags, "-o", str(part), package)
        part.rename(out)
        record(tool, name, time.monotonic() - before, child_cpu_seconds() - cpu_before)


def child_cpu_seconds() -> float:
    """CPU seconds of every command that has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def record(tool: Tool, name: str, wall: float, cpu: float) -> None:
    """Print what one binary cost and keep it beside the binary: the figures of docs/benchmarks.md."""
    out = place(tool) / "bin" / name
    cost = {"name": name, "version": tool.version, "wall_s": round(wall), "cpu_s": round(cpu), "mb": round(out.stat().st_size / 1e6)}
    with (place(tool) / "built.jsonl").open("a") as log:
        log.write(json.dumps({**cost, "go": go(tool.directory, "env", "GOVERSION")}) + "\n")
    print(json.dumps(cost), flush=True)


def copy_manifests(tool: Tool) -> None:
    """CRDs, webhook configurations and ConfigMaps out of the module cache, which a restored cache does not have."""
    source = Path(go(tool.directory, "list", "-m", "-f", "{{.Dir}}", tool.module))
    if not source.is_dir() or source == Path():
        go(tool.directory, "mod", "download", tool.module)
        source = Path(go(tool.directory, "list", "-m", "-f", "{{.Dir}}", tool.module))
    part = place(tool) / ".manifests.part"
    shutil.rmtree(part, ignore_errors=True)
    for name in tool.manifests:
        copy_writable(source / name, part / name)
    part.rename(place(tool) / "manifests")


def copy_writable(source: Path, target: Path) -> None:
    """One file or directory; the module cache is read-only, a cache that cannot be deleted is none."""
    for path in [source] if source.is_file() else sorted(path for path in source.rglob("*.yaml")):
        into = target if source.is_file() else target / path.relative_to(source)
        into.parent.mkdir(parents=True, exist_ok=True)
        into.write_bytes(path.read_bytes())


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Build the control plane of the cluster tests.")
    parser.add_argument("groups", nargs="*", metavar="SET", help=f"what to build: {', '.join(GROUPS)} (default: core train)")
    parser.add_argument("--where", action="store_true", help="print what is there as JSON and build nothing")
    parser.add_argument("--budget", type=float, default=float("inf"), metavar="SECONDS", help="start no build after this time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at a time")
    parsed = parser.parse_args()
    if unknown := set(parsed.groups) - set(GROUPS):
        parser.error(f"no set {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return parsed


def main() -> int:
    """Build what is missing; say what is still missing after the budget."""
    options = arguments()
    if options.where:
        print(json.dumps(where(), indent=1))
        return 0
    build = Build(options.jobs, options.budget)
    for group in options.groups or ["core", "train"]:
        for tool in (tool for tool in TOOLS if tool.group == group):
            try:
                build.tool(tool)
            except NoGo as missing:
                print(f"tools: {missing}", file=sys.stderr)
                return NO_GO
            except subprocess.CalledProcessError as failed:
                print(f"tools: {tool.name}: {' '.join(map(str, failed.cmd))} failed, see above", file=sys.stderr)
                return 1
    if build.left:
        print(f"tools: not built, {options.budget:.0f} s are spent: {', '.join(build.left)}", file=sys.stderr)
        return BUDGET_SPENT
    print(f"tools: all of {', '.join(options.groups or ['core', 'train'])} in {cache_root()}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
