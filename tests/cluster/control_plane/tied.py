"""Replaces itself by a command that dies with its parent, so that a killed test run leaves no server behind.

Run as a script: `python -S tied.py PARENT_PID COMMAND ARGUMENTS…`. Linux only, where the tie is to the parent's *thread*: start servers
from one that lives as long as they shall. Elsewhere the command is merely run. A script and not `preexec_fn`, which is unsafe in a
process that has threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent ended first")
    os.execv(sys.argv[2], sys.argv[2:])
