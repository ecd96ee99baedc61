"""The servers of a control plane as child processes: started, waited for, restarted, stopped in the reverse order.

Invariant: none outlives this process (see `tied`), and a server that ends on its own is reported with the end of its log. Cost: none but
the servers' own; waiting polls every 50 ms.
"""

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.control_plane.binaries import program

TIED = Path(__file__).with_name("tied.py")
START_SECONDS = 180.0
"""A busy machine of two cores makes the API server start five times slower: a limit for hangs, not for slowness."""


class DidNotStart(Exception):
    """A server ended or did not become ready; holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """How a server is started, and the address that answers 200 once it is ready."""

    name: str
    arguments: tuple[str, ...]
    ready: str
    environment: Mapping[str, str] = field(default_factory=dict)
    program: str = ""
    """The program's name; empty is the server's."""


class Processes:
    """The running servers of one control plane; logs go to `<directory>/logs/<name>.log`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.ready_after: dict[str, float] = {}
        self._servers: dict[str, Server] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[str, int] = {}

    def port(self, name: str) -> int:
        """A port of this machine for `name`, the same one each time."""
        if name not in self._ports:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self._ports[name] = free.getsockname()[1]
        return self._ports[name]

    def start(self, server: Server, client: ssl.SSLContext | None = None) -> None:
        """Start a server and wait until it is ready.

        Raises:
            NotBuilt: its program is not in the cache.
            DidNotStart: it ended, or did not answer in time.
        """
        command = [sys.executable, "-S", str(TIED), str(os.getpid()), str(program(server.program or server.name)), *server.arguments]
        began = time.monotonic()
        with (self.logs / f"{server.name}.log").open("ab") as log:
            self._running[server.name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={**os.environ, **server.environment},
                start_new_session=True,
            )
        self._servers[server.name] = server
        self._wait(server, client or _trusting())
        self.ready_after[server.name] = round(time.monotonic() - began, 1)

    def stop(self, name: str, kill: bool = False) -> None:
        """Stop a server (SIGTERM, SIGKILL after 15 s; `kill` starts with SIGKILL) and wait until it is gone."""
        process = self._running.pop(name)
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, name: str, kill: bool = False, client: ssl.SSLContext | None = None) -> None:
        """Stop a server and start it as it was, on the same port and data."""
        self.stop(name, kill)
        self.start(self._servers[name], client)

    def stop_all(self) -> None:
        """End every server, the last one first. By SIGKILL: nothing of it is kept, and an API server takes its time for a farewell."""
        for name in reversed(list(self._running)):
            self.stop(name, kill=True)

    def is_running(self, name: str) -> bool:
        """Whether a server was started and has not ended."""
        return name in self._running and self._running[name].poll() is None

    def pid(self, name: str) -> int:
        """Process id of a running server."""
        return self._running[name].pid

    def resident_mib(self) -> dict[str, int]:
        """Resident memory of each server, in MiB."""
        return {name: mib for name, process in self._running.items() if (mib := _resident_mib(process.pid)) is not None}

    def tail(self, name: str, lines: int = 25) -> str:
        """The end of a server's log; long lines are cut, kwok writes some of several hundred KB."""
        text = (self.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(line[:400] for line in text.splitlines()[-lines:])

    def _wait(self, server: Server, client: ssl.SSLContext) -> None:
        deadline = time.monotonic() + START_SECONDS
        problem = ""
        while time.monotonic() < deadline:
            if not self.is_running(server.name):
                raise DidNotStart(f"{server.name} ended; its log ends with:\n{self.tail(server.name)}")
            try:
                with urllib.request.urlopen(server.ready, timeout=5, context=client if server.ready.startswith("https") else None) as reply:
                    if reply.status == 200:
                        return
            except (urllib.error.URLError, OSError) as error:
                problem = str(error)
            time.sleep(0.05)
        raise DidNotStart(f"{server.name} is not ready at {server.ready} ({problem}); its log ends with:\n{self.tail(server.name)}")


def _trusting() -> ssl.SSLContext:
    """Readiness of servers that sign their own certificates; nothing is sent to them."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _resident_mib(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) // 1024
    return None
