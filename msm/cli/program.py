"""What a user types to run a program of this environment: hints that can be copied.

Neighbours: every command that names a next command. Cost: a few file system look-ups.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path


def typed(name: str, environ: Mapping[str, str], directory: Path, scripts: Path = Path(sys.executable).parent) -> str:
    """`name` where the PATH finds this environment's own, else its path, relative where that is shorter."""
    ours = scripts / name
    found = shutil.which(name, path=environ.get("PATH", ""))
    if not ours.exists() or (found is not None and Path(found).resolve() == ours.resolve()):
        return name
    relative = os.path.relpath(ours, directory)
    return relative if not relative.startswith("..") else str(ours)
