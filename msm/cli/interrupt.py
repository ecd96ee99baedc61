"""Ctrl-C: the first asks the stages to checkpoint, the second kills them.

Neighbours: `running` holds one around the session. Invariant: a signal handler only puts a word into a queue (setting an Event there could
deadlock with a main thread that is waiting on it); signals within a moment count as one, because wrappers such as `uv run` pass on what the
terminal sent already. The handlers found are put back.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Any, Self

from msm.cli.codes import INTERRUPTED, TERMINATED

ONE_PRESS_SECONDS = 0.4
STOPPING = "stopping: stages are checkpointing; press again to kill"


@dataclass(slots=True)
class Interrupts:
    """Turns SIGINT and SIGTERM into `stop`, for as long as it is open; only in the main thread."""

    stop: threading.Event
    note: Callable[[str], None]
    monotonic: Callable[[], float] = time.monotonic
    kill: Callable[[], None] = lambda: kill_descendants(os.getpid())
    first: float | None = None
    exit_code: int = 0
    _words: "SimpleQueue[str | None]" = field(default_factory=SimpleQueue)
    _found: dict[int, Any] = field(default_factory=dict)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread = threading.Thread(target=self._ask, name="interrupts", daemon=True)
        self._thread.start()
        self._found = {number: signal.signal(number, self.hear) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Put back what was there."""
        for number, handler in self._found.items():
            signal.signal(number, handler)
        self._words.put(None)
        if self._thread is not None:
            self._thread.join(1.0)

    def hear(self, number: int, frame: FrameType | None) -> None:
        """The signal handler.

        Raises:
            KeyboardInterrupt: this is the second one.
        """
        now = self.monotonic()
        if self.first is None:
            self.first = now
            self.exit_code = INTERRUPTED if number == signal.SIGINT else TERMINATED
            self._words.put(STOPPING)
        elif now - self.first >= ONE_PRESS_SECONDS:
            self.kill()
            raise KeyboardInterrupt

    def _ask(self) -> None:
        """Wait for the first signal, in a thread of its own, and pass it on."""
        word = self._words.get()
        if word is not None:
            self.stop.set()
            self.note(word)


def kill_descendants(ancestor: int, proc: Path = Path("/proc")) -> None:
    """SIGKILL to every process below `ancestor`; the list is complete before the first one goes, since orphans change parents."""
    for process in descendants(ancestor, proc):
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def descendants(ancestor: int, proc: Path = Path("/proc")) -> list[int]:
    """Process ids below `ancestor`, parents first."""
    children: dict[int, list[int]] = {}
    for stat in proc.glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(after_name[1]), []).append(int(stat.parent.name))
    found, queue = [], [ancestor]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    return found
