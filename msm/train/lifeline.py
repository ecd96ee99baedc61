"""A rank's life hangs on its launcher: when the launcher is gone, however it died, the rank ends.

Standard input is a pipe whose only writing end the launcher holds; torchrun passes it on. End of file means the launcher is dead, SIGKILL
included. No torch. Invariant: no rank outlives its launcher by more than a moment.
"""

import os
import threading
from collections.abc import Callable


def hold_lifeline(descriptor: int = 0, end: Callable[[int], object] = os._exit) -> threading.Thread:
    """Watches `descriptor` in a daemon thread; on end of file calls `end(1)`, which by default leaves without clean-up."""

    def watch() -> None:
        try:
            while os.read(descriptor, 4096):
                pass
        finally:
            end(1)

    thread = threading.Thread(target=watch, name="lifeline", daemon=True)
    thread.start()
    return thread
