"""Which software made an artifact.

Read from installed metadata, so nothing heavy is imported. Cost: a few milliseconds.
"""

import platform
from importlib import metadata

NAMED = ("msm-platform", "torch", "transformers", "tokenizers", "peft", "deepspeed", "safetensors", "numpy")


def versions() -> dict[str, str]:
    """Name -> version of Python and of the packages that can change results; absent packages are left out."""
    found = {"python": platform.python_version()}
    for name in NAMED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
