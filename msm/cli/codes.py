"""Exit codes of the command line, beside those of `msm.errors`; API, documented in docs/reference/exit-codes.md.

Pure. Neighbours: `boundary` and `running` return them.
"""

from typing import Final

SUCCEEDED: Final = 0
FAILED: Final = 1
USER_ERROR: Final = 2
TRY_AGAIN: Final = 75
INTERRUPTED: Final = 130
"""Ctrl-C; stages have checkpointed, or were killed by the second one."""
TERMINATED: Final = 143
"""SIGTERM; stages have checkpointed."""
