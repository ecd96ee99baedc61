"""Prints a lock without the packages that only a GPU needs: `cpu_lock.py LOCK`, while an image for processors is built.

Neighbour: `torch_cpu` makes torch importable without them.
"""

import re
import sys
from pathlib import Path

GPU_ONLY = re.compile(r"(nvidia|cuda)-|triton==")


def without_gpu(lock: str) -> str:
    """The entries of a lock that a processor needs."""
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", lock)
    return "".join(entry for entry in entries if not GPU_ONLY.match(entry))


if __name__ == "__main__":
    sys.stdout.write(without_gpu(Path(sys.argv[1]).read_text(encoding="utf-8")))
