"""A control plane by hand: `python -m tests.cluster.control_plane --with kwok,training-operator`; Ctrl-C stops it.

Prints the line to type in another shell. Runs in the foreground on purpose: there is no state file that could be wrong about what runs.
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster.control_plane import ADDONS, NotBuilt, started


def main() -> int:
    """Start, say where, wait for a signal, stop; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.control_plane", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--with", dest="addons", default="kwok", help=f"comma separated, of: {', '.join(ADDONS)} (default: kwok)")
    parser.add_argument("--directory", type=Path, help="an empty directory for its data (default: a temporary one)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="control-plane-") as temporary:
        directory = (options.directory or Path(temporary)).resolve()
        with started(directory, *filter(None, options.addons.split(","))) as plane:
            print(f"export KUBECONFIG={plane.kubeconfig}", flush=True)
            print(
                f"# up in {time.monotonic() - began:.1f} s; {plane.processes.ready_after}; RSS MiB {plane.processes.resident_mib()}",
                flush=True,
            )
            signal.pause()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NotBuilt as missing:
        sys.exit(str(missing))
    except KeyboardInterrupt:
        sys.exit(130)
