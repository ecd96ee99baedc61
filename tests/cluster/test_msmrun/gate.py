"""A fake for injecting faults only: a TCP gate before a real server: open, shut (refuses), or stuck (takes and answers nothing)."""

import socket
import threading
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

State = Literal["open", "shut", "stuck"]


class Gate:
    """A listening port whose connections go to `upstream`."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self._state: State = "open"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def endpoint(self) -> str:
        """Where clients ask."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def turn(self, state: State) -> None:
        """Change the state; connections that are open are cut, except when it gets stuck."""
        self._state = state
        if state == "shut":
            for one in self._pairs:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._pairs.clear()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._state == "shut":
                client.close()
                continue
            server = socket.create_connection(self._upstream)
            self._pairs += [client, server]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self._state == "stuck":
                    continue
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
