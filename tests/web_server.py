"""A web server on the loopback interface for the tests: files of a folder, and hostile answers."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import socket
import ssl
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the answers of its server, else with a file of its folder, else 404."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path = urllib.parse.unquote(self.path.partition("?")[0])
        with self.server.counting(path):
            self.server.requests.append((path, self.headers))
            time.sleep(self.server.latency_s)
            answer = self.server.answers.get(path)
            file = self.server.folder and self.server.folder / path.lstrip("/")
            if answer:
                answer(self)
            elif file and file.is_file():
                self.send(file.read_bytes())
            else:
                self.send(b"<html>not here</html>", status=404)

    def send(self, content: bytes, status: int = 200, **headers: str) -> None:
        """Send a whole answer; in the names of headers `_` stands for a dash."""
        self.start(status, **{"Content_Length": str(len(content)), **headers})
        self.wfile.write(content)

    def start(self, status: int = 200, **headers: str) -> None:
        """Send all but the body."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def end_connection(self) -> None:
        """Close the connection after this answer."""
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """A server with a thread a connection.

    Attributes:
        answers: what to do, by path.
        folder: whose files it has.
        latency_s: how long it thinks before each answer.
        requests: paths and headers of all requests.
        connections: how many were ever accepted.
        most_at_once: the most requests that were answered at a time.
        seen: how often each path was asked for.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str = "127.0.0.1", folder: Path | None = None):
        if ":" in address:
            self.address_family = socket.AF_INET6
        super().__init__((address, 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.folder, self.latency_s = folder, 0.0
        self.requests: list[tuple[str, Any]] = []
        self.seen: Counter[str] = Counter()
        self.connections = self.most_at_once = self._now = 0
        self._turn = threading.Lock()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        """Return the URL of a path."""
        return f"{scheme}://{host}:{self.port}/{path.lstrip('/')}"

    def get_request(self) -> Any:
        found = super().get_request()
        self.connections += 1
        return found

    @contextlib.contextmanager
    def counting(self, path: str) -> Iterator[None]:
        with self._turn:
            self.seen[path] += 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            yield
        finally:
            with self._turn:
                self._now -= 1

    def handle_error(self, *_: Any) -> None:
        """Clients that leave are no matter."""


@contextlib.contextmanager
def serve(
    address: str = "127.0.0.1", folder: Path | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """Run a server in the block."""
    with Server(address, folder) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def redirect(location: str, status: int = 302) -> Answer:
    """Answer with another place."""
    return lambda handler: handler.send(b"moved", status, Location=location)


def content(data: bytes, status: int = 200, **headers: str) -> Answer:
    """Answer with some bytes and headers."""
    return lambda handler: handler.send(data, status, **headers)


def in_turn(*answers: Answer) -> Answer:
    """Answer differently each time, and at last always so."""
    left = list(answers)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


def cut(data: bytes, length: int, close: bool = True) -> Answer:
    """Announce another length than comes."""

    def answer(handler: Handler) -> None:
        handler.start(Content_Length=str(length))
        handler.wfile.write(data)
        handler.close_connection = close

    return answer


def cut_chunks(data: bytes) -> Answer:
    """Send a chunk, and no end."""

    def answer(handler: Handler) -> None:
        handler.start(Transfer_Encoding="chunked")
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        handler.end_connection()

    return answer


def endless(handler: Handler) -> None:
    """Never stop."""
    handler.start(Content_Type="image/jpeg")
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(bytes(1 << 16))


def drip(handler: Handler) -> None:
    """Send a byte of the body now and then."""
    handler.start(Content_Length="1000000")
    _drip(handler)


def drip_header(handler: Handler) -> None:
    """Send a byte of a header now and then."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    _drip(handler)


def _drip(handler: Handler) -> None:
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.05)


def silent(handler: Handler) -> None:
    """Say nothing."""
    time.sleep(1)
    handler.end_connection()


def reset(handler: Handler) -> None:
    """Break the connection."""
    linger = b"\1\0\0\0\0\0\0\0"
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.end_connection()
    handler.connection.close()


def raw(data: bytes) -> Answer:
    """Send bytes that may be no HTTP."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(data)
        handler.end_connection()

    return answer


def bomb(size_bytes: int) -> bytes:
    """Return zeros, packed to a thousandth."""
    return gzip.compress(bytes(size_bytes))
