"""torch without CUDA's packages: what is left out of a lock, and stubs that stand in for real libraries at load time."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

IMAGES = Path(__file__).resolve().parents[3] / "images"
LOCK = """nvidia-cublas==13.1 \\
    --hash=sha256:aa
    # via torch
numpy==2.4 ; python_version < '3.12' \\
    --hash=sha256:bb
torch==2.13.0 \\
    --hash=sha256:cc
triton==3.7 \\
    --hash=sha256:dd
"""
CUDA = """int cudaGetDeviceCount(int *n) { *n = 8; return 0; }
const char *cudaGetErrorString(int n) { return "fine"; }
"""
NCCL = "int ncclGetVersion(int *n) { return 0; }\n"
TORCH = """int cudaGetDeviceCount(int *); int ncclGetVersion(int *); const char *cudaGetErrorString(int);
const char *why(void) { return cudaGetErrorString(100); }
int devices(void) { int n = 0; return cudaGetDeviceCount(&n); }
int nccl(void) { int n = 0; return ncclGetVersion(&n); }
"""


def load(name):
    spec = importlib.util.spec_from_file_location(name, IMAGES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_a_lock_for_a_processor_keeps_the_other_entries_whole():
    kept = load("cpu_lock").without_gpu(LOCK)
    assert kept.splitlines() == [*LOCK.splitlines()[3:7]]


def shared(directory, name, source, *options):
    (directory / "source.c").write_text(source)
    place = directory / name
    command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(place), str(directory / "source.c"), *options]
    subprocess.run(command, check=True, capture_output=True)
    return place


ASK = """
import ctypes, sys
loaded = ctypes.CDLL(sys.argv[1], mode=2)
loaded.why.restype = ctypes.c_char_p
print(loaded.devices(), loaded.nccl(), loaded.why().decode(), sep="\\n")
"""


def asked(library):
    """In a process of its own: one that has imported torch has the real libraries loaded by these names."""
    return subprocess.run([sys.executable, "-c", ASK, str(library)], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("objdump")), reason="needs gcc and objdump, which only an image's build has")
def test_a_library_that_was_linked_against_cuda_loads_and_is_told_of_no_device(tmp_path):
    place = tmp_path / "torch" / "lib"
    place.mkdir(parents=True)
    (tmp_path / "versions").write_text("libcudart.so.13 { global: cudaGetDeviceCount; cudaGetErrorString; };\n")
    cudart = shared(tmp_path, "libcudart.so.13", CUDA, f"-Wl,--version-script={tmp_path / 'versions'}")
    nccl = shared(tmp_path, "libnccl.so.2", NCCL)
    torch = shared(tmp_path, "libtorch_cuda.so", TORCH, str(cudart), str(nccl), "-Wl,-rpath,$ORIGIN")
    torch = shutil.move(torch, place)
    assert "cannot open shared object" in asked(torch).stderr
    load("torch_cpu").stubs(tmp_path)
    assert asked(torch).stdout.splitlines() == ["100", "100", "no device"]
