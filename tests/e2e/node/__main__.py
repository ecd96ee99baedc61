"""A node by hand: `python -m tests.e2e.node [ARCHIVE...]` starts one, loads images, says what to type, and ends it at Ctrl-C."""

import argparse
import os
import signal
import sys
from pathlib import Path

from tests.e2e.node import Layout, lacks, started


def cache() -> Path:
    """What outlives nodes: images that were unpacked."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "msm-e2e"


def main() -> int:
    """Start, say where, wait for a signal, end; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.node", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archives", nargs="*", type=Path, metavar="ARCHIVE", help="images to load, as `docker save` writes them")
    parser.add_argument("--directory", type=Path, default=cache() / "node", help="its files; emptied first (default: %(default)s)")
    options = parser.parse_args()
    if missing := lacks("core", "node"):
        sys.exit("\n".join(missing))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with started(Layout(options.directory.resolve(), cache() / "images")) as node:
        for archive in options.archives:
            node.load(archive)
        print(f"export KUBECONFIG={node.layout.kubeconfig('admin')}\n# {node.seconds}", flush=True)
        signal.pause()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
