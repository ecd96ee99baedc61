"""Which precision the hardware is good at: bfloat16 only where there are units for it.

Resolved once a run and recorded, never per node; without such units float32 is faster. No torch. Pure but for `read_cpuinfo`.
"""

from pathlib import Path
from typing import Literal

Precision = Literal["float32", "bfloat16"]
CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
FIRST_CUDA_CAPABILITY = (8, 0)


def detect_precision(cpuinfo_text: str, cuda_capability: tuple[int, int] | None = None) -> Precision:
    """From the text of /proc/cpuinfo, or, when the run trains on GPUs, from their compute capability."""
    if cuda_capability is not None:
        return "bfloat16" if cuda_capability >= FIRST_CUDA_CAPABILITY else "float32"
    lines = [line.partition(":")[2].split() for line in cpuinfo_text.splitlines() if line.split(":")[0].strip() == "flags"]
    return "bfloat16" if lines and all(CPU_FLAGS & set(flags) for flags in lines) else "float32"


def read_cpuinfo(path: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's description; empty where there is none (then float32 is taken)."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
