"""When a stage must stop: a signal, or the end of the executor that started it.

Neighbours: `program` starts it, stages see the event. The executor holds a FIFO open for writing; when it closes it or dies, however it
dies, the reader here gets end of file. Invariant: no stage outlives its executor by more than its grace.
"""

import os
import select
import signal
import threading

from msm.errors import Exit


def watch(pipe: str | None, grace: float) -> threading.Event:
    """An event that is set on SIGTERM, SIGINT or the executor's end; `grace` seconds after it the process ends, whatever it is doing."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if pipe is not None:
        threading.Thread(target=_wait_for_end, args=(pipe, stop), name="lifeline", daemon=True).start()
    threading.Thread(target=_end_in_time, args=(stop, grace), name="grace", daemon=True).start()
    return stop


def _wait_for_end(pipe: str, stop: threading.Event) -> None:
    try:
        descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        stop.set()
        return
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    while not stop.is_set():
        if _ended(descriptor):
            stop.set()
        poller.poll(1000)
    os.close(descriptor)


def _ended(descriptor: int) -> bool:
    """Whether the FIFO has no writer: asked by reading, since poll says nothing about a writer that left before we came."""
    try:
        return os.read(descriptor, 1) == b""
    except BlockingIOError:
        return False


def _end_in_time(stop: threading.Event, grace: float) -> None:
    stop.wait()
    if not threading.Event().wait(grace):
        os._exit(Exit.PREEMPTED)
