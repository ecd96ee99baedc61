"""A fake for injecting faults only: an HTTP proxy before a real S3 server that spoils chosen requests and passes on the others."""

import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Fault = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request on its way; a fault may call `forward`, `drop` or `answer`."""

    protocol_version = "HTTP/1.1"
    upstream = ""
    fault: Fault

    def _any(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        type(self).fault(self)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _any

    def forward(self, without: str = "", truncate: int = 0) -> None:
        """Pass on, without a header; with `truncate` the last bytes of the answer's body are withheld and the connection cut."""
        status, headers, data = self._ask(without)
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) - truncate])
        self.close_connection = bool(truncate)

    def forward_and_drop(self) -> None:
        """The server does it, the client never hears."""
        self._ask("")
        self.drop()

    def drop(self) -> None:
        self.close_connection = True

    def answer(self, status: int, body: bytes = b"", content_type: str = "application/xml") -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", content_type)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return

    def _ask(self, without: str) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(type(self).upstream, timeout=20)
        headers = {name: value for name, value in self.headers.items() if name.lower() != without.lower()}
        connection.request(self.command, self.path, self.body, headers)
        response = connection.getresponse()
        data = response.read()
        found = [(name, value) for name, value in response.getheaders() if name.lower() != "content-length" or self.command == "HEAD"]
        if self.command != "HEAD":
            found.append(("Content-Length", str(len(data))))
        connection.close()
        return response.status, found, data


@contextmanager
def faulty_s3(endpoint: str, fault: Fault, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The URL of a proxy before `endpoint` whose every request goes through `fault`; it speaks HTTPS when given a context."""
    handler = type("Handler", (Exchange,), {"upstream": urlsplit(endpoint).netloc, "fault": staticmethod(fault)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def always_forward(exchange: Exchange) -> None:
    exchange.forward()
