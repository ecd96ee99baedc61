"""Whether this process lives and is ready, and its metrics, over HTTP from a thread of its own.

`manager` starts it. Invariant: it answers even while the event loop is stuck, because that is what it is asked about. `/healthz` fails
when the loop has not turned, or one pass has not ended, for longer than its limit; `/readyz` until the caches are synced, whether
this replica leads or not; `/metrics` is Prometheus' text. A loop that is stuck has its stack logged once.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

log = logging.getLogger(__name__)
Check = Callable[[], str]
"""Says what is wrong; empty when nothing is."""


@dataclass(frozen=True, slots=True)
class Checks:
    """What the three addresses tell."""

    alive: Check
    ready: Check
    metrics: Callable[[], str]


class Heartbeat:
    """How long ago the event loop last turned; read from any thread."""

    def __init__(self, *, every: float = 1.0, limit: float = 30.0, now: Callable[[], float] = time.monotonic) -> None:
        self._every, self._limit, self._now = every, limit, now
        self._last = now()
        self._thread = threading.get_ident()
        self._told = False

    async def run(self) -> None:
        """Beat from the loop that is watched; ends by being cancelled."""
        self._thread = threading.get_ident()
        while True:
            self._last, self._told = self._now(), False
            await asyncio.sleep(self._every)

    def trouble(self) -> str:
        """What is wrong with the loop."""
        silent = self._now() - self._last
        if silent <= self._limit:
            return ""
        if not self._told:
            self._told = True
            frame = sys._current_frames().get(self._thread)
            log.error("the event loop is stuck for %.0f s, here:\n%s", silent, "".join(traceback.format_stack(frame)) if frame else "?")
        return f"the event loop is stuck for {silent:.0f} s"


class HealthServer:
    """Answers on `port` (0: a free one) until closed."""

    def __init__(self, checks: Checks, *, host: str = "", port: int = 0) -> None:
        self._server = ThreadingHTTPServer((host, port), _handler(checks))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def _handler(checks: Checks) -> type[BaseHTTPRequestHandler]:
    answers: dict[str, Callable[[], tuple[int, str]]] = {
        "/healthz": lambda: _verdict(checks.alive()),
        "/livez": lambda: _verdict(checks.alive()),
        "/readyz": lambda: _verdict(checks.ready()),
        "/metrics": lambda: (200, checks.metrics()),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = answers.get(self.path.partition("?")[0], lambda: (404, "no such address\n"))()
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler


def _verdict(trouble: str) -> tuple[int, str]:
    return (503, f"{trouble}\n") if trouble else (200, "ok\n")
