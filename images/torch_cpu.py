"""Makes torch from the package index, which is built for CUDA, importable without 3 GB of CUDA packages: for images on processors.

Run while an image is built (images/trainer/Dockerfile, images/serve/Dockerfile), after `cpu_lock` left the packages out; nothing of it
runs later. torch's libraries are linked against CUDA's, so without those the import fails. This writes one small library for each that is
missing: it has the symbols and versions that torch asks for, and every function answers 100, which is cudaErrorNoDevice. torch then finds
no device, as on any machine without one. Invariant: a symbol that torch needs and no stub has ends the build, because the Dockerfiles
import torch with every symbol bound at once. Needs gcc and objdump. Cost: some 20 s.

    torch_cpu.py SITE-PACKAGES         write the stubs into torch/lib
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

CUDA_LIBRARY = re.compile(r"lib(cu|nccl|nvshmem|nvrtc|nvJit|nvtx|nvperf)")
CUDA_SYMBOL = re.compile(r"(cu[A-Z]|cuda|cublas|cudnn|cufft|cuFile|cupti|curand|cusolver|cusparse|nccl|nvrtc|nvshmem|nvJit|nvtx)")
NO_DEVICE = 100
SAYS = re.compile(r"(cuda|cublas|cublasLt|cudnn|cusparse|nccl|nvrtc)Get(Error|Status)(String|Name)|ncclGetLastError")
"""Functions that answer with a text: torch reads it when it reports an error, and would read address 100."""


@dataclass(slots=True)
class Needs:
    """What libraries ask of CUDA: sonames; symbols by soname and version; symbols without a version."""

    libraries: set[str] = field(default_factory=set)
    versioned: dict[str, dict[str, set[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    plain: set[str] = field(default_factory=set)


def output(*command: str) -> str:
    """What a program prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def needs(libraries: Iterable[Path]) -> Needs:
    """What these libraries together ask of CUDA."""
    found = Needs()
    for library in libraries:
        headers = output("objdump", "-p", str(library))
        found.libraries |= {name for name in re.findall(r"NEEDED\s+(\S+)", headers) if CUDA_LIBRARY.match(name)}
        owners = dict(owned_versions(headers))
        for name, version in undefined(output("objdump", "-T", str(library))):
            if version in owners:
                found.versioned[owners[version]][version].add(name)
            elif not version and CUDA_SYMBOL.match(name):
                found.plain.add(name)
    return found


def owned_versions(headers: str) -> Iterator[tuple[str, str]]:
    """(version, soname of the CUDA library that it is required from)."""
    for block in re.finditer(r"required from (\S+):\n((?:\s+0x.*\n)+)", headers):
        if CUDA_LIBRARY.match(block[1]):
            for version in re.findall(r"0x\S+ 0x\S+ \d+ (\S+)", block[2]):
                yield version, block[1]


def undefined(symbols: str) -> Iterator[tuple[str, str]]:
    """(symbol, version or nothing) of what a library leaves to others."""
    for line in symbols.splitlines():
        if "*UND*" in line:
            size_and_rest = line.split("*UND*")[1].split()
            version = size_and_rest[1].strip("()") if len(size_and_rest) == 3 and size_and_rest[1] != "Base" else ""
            yield size_and_rest[-1], version


def function(name: str) -> str:
    """A function in C that answers that there is no device, in words where words are asked for."""
    answers = ("const char*", '"no device"') if SAYS.fullmatch(name) else ("long", NO_DEVICE)
    return f"{answers[0]} {name}(void) {{ return {answers[1]}; }}\n"


def write_stub(target: Path, versioned: dict[str, set[str]], plain: set[str]) -> None:
    """A library in which every function answers that there is no device."""
    with tempfile.TemporaryDirectory() as directory:
        source, script = Path(directory, "stub.c"), Path(directory, "stub.map")
        names = sorted(plain.union(*versioned.values()))
        source.write_text("".join(function(name) for name in names))
        script.write_text("".join(f"{version} {{ global: {'; '.join(sorted(named))}; }};\n" for version, named in versioned.items()))
        options = ["-shared", "-fPIC", "-w", "-O1", "-fno-builtin", f"-Wl,-soname,{target.name}"]
        mapped = [f"-Wl,--version-script={script}"] if script.stat().st_size else []
        output("gcc", *options, *mapped, "-o", str(target), str(source))


def stubs(site: Path) -> None:
    """Write a stub for every CUDA library that torch is linked against and that is not there."""
    place = site / "torch" / "lib"
    wanted = needs([*sorted(place.glob("*.so*")), *sorted((site / "torch").glob("_C*.so"))])
    for name in sorted(wanted.libraries - {path.name for path in place.iterdir()}):
        versioned = wanted.versioned.get(name, {})
        write_stub(place / name, versioned, set() if versioned else wanted.plain)
        print(f"torch_cpu: stub {name}", flush=True)


if __name__ == "__main__":
    stubs(Path(sys.argv[1]))
