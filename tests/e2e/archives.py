"""The images of this project and of those it stands on, as `images/build.py` has them: references for manifests, archives for the node.

Invariant: what is not built is said with what to type; nothing is pulled, the node has no way out.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "images" / "build.py"
HERE = ("--base", "local", "--accelerator", "cpu")
OURS = ("operator", "trainer", "serve")
THEIRS = ("pause", "training-operator", "kserve-controller", "storage-initializer", "network-policies", "seaweedfs", "mlflow")


@dataclass(frozen=True, slots=True)
class Image:
    """A built image."""

    reference: str
    archive: Path


@cache
def built() -> dict[str, Image]:
    """Every image that is there at the present state of the checkout."""
    printed = subprocess.run([sys.executable, str(BUILD), *HERE, "--where"], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = json.loads(printed)
    return {name: Image(one["image"], Path(one["tar"])) for name, one in found.items() if Path(one["tar"]).exists()}


def missing(*names: str) -> list[str]:
    """One sentence with what to type, or none."""
    absent = [name for name in names if name not in built()] if BUILD.exists() else list(names)
    return [f"images not built; type: images/build.py {' '.join((*HERE, *absent))}"] if absent else []
