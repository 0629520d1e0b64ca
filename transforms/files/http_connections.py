"""Connections over HTTP: to addresses that were checked, kept for the next request, never endless.

A timeout of a socket is one of silence: a host that sends a byte now and then would hold a thread
for ever. Each read here also ends by a `Deadline`, be it of a header or of a body.
"""

from __future__ import annotations

import io
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError

from beamvec.redact import redact
from beamvec.transforms.files.http_guard import Guard

_MAX_IDLE = 64
"""Connections that are kept for the next request, to all hosts together."""

_MAX_IDLE_S = 30.0
_MAX_ADDRESSES = 4


def _redact_record(record: logging.LogRecord) -> bool:
    """Keep the queries of URLs, which may be signed, out of what urllib3 logs of odd headers."""
    record.msg, record.args = redact(record.getMessage()), ()
    return True


logging.getLogger("urllib3.connection").addFilter(_redact_record)


class Deadline:
    """When something has to be done.

    Args:
        total_s: how long it may take.
        silence_s: how long nothing may come meanwhile.
    """

    def __init__(self, total_s: float, silence_s: float):
        self.silence_s = silence_s
        self._end = time.monotonic() + total_s

    @property
    def is_over(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self._end

    def put_off(self, seconds: float) -> None:
        """Move it: what was spent on waiting for a turn does not count."""
        self._end += seconds

    def wait_s(self, longest_s: float | None = None) -> float:
        """Return for how long to wait for the next bytes.

        Raises:
            TimeoutError: if the deadline has passed.
        """
        left_s = self._end - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return min(left_s, self.silence_s if longest_s is None else longest_s)


class Origin(NamedTuple):
    """Where requests go; `host` is a name or an address without brackets."""

    scheme: str
    host: str
    port: int


Rest = Literal["nothing", "end", "more"]
"""What stands behind an answer: nothing yet, the connection's end, or bytes that nobody asked for.
"""


class _TimedBytes(io.RawIOBase):
    """The bytes that come from a socket, by a deadline."""

    def __init__(self, sock: Any, deadline: Deadline):
        self._file, self._sock, self._deadline = sock.makefile("rb", buffering=0), sock, deadline
        self._is_ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._is_ended:
            return 0
        self._sock.settimeout(self._deadline.wait_s())
        return int(self._file.readinto(buffer) or 0)

    def end(self) -> Rest:
        """Read no more, but look without waiting what would come."""
        self._is_ended = True
        self._sock.settimeout(0)
        try:
            count = self._file.readinto(bytearray(1))
        except ssl.SSLWantReadError:
            return "nothing"
        except OSError:
            return "end"
        return "nothing" if count is None else "more" if count else "end"

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._file.close()


class _Answer(io.BufferedReader):
    """One answer, whose end tells what stands behind it."""

    def __init__(self, source: _TimedBytes, tell: Callable[[Rest], None]):
        super().__init__(source)
        self._source, self._tell = source, tell

    def close(self) -> None:
        if not self.closed:
            rest = self._source.end()
            self._tell("more" if self.peek(1) else rest)
        super().close()


class _TimedSocket:
    """A socket as `http.client` uses it, whose reads end by a deadline."""

    def __init__(self, sock: socket.socket):
        self._sock = sock
        self.deadline = Deadline(0, 0)
        self.rest: Rest = "nothing"

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return _Answer(_TimedBytes(self._sock, self.deadline), self._tell)

    def _tell(self, rest: Rest) -> None:
        self.rest = rest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Connection:
    """A connection to a checked address.

    Args:
        origin: where the address belongs: its name is in the certificate and the `Host` header.
        address: what to connect to.
        context: for https.
        timeout_s: of connecting.

    Raises:
        urllib3.exceptions.HTTPError: if it cannot be made.
    """

    def __init__(
        self, origin: Origin, address: str, context: ssl.SSLContext, timeout_s: float
    ) -> None:
        self.origin = origin
        if origin.scheme == "https":
            self._connection: HTTPConnection = HTTPSConnection(
                address,
                origin.port,
                timeout=timeout_s,
                ssl_context=context,
                server_hostname=origin.host,
            )
        else:
            self._connection = HTTPConnection(address, origin.port, timeout=timeout_s)
        self._connection.connect()
        self._socket = _TimedSocket(self._connection.sock)
        self._connection.sock = self._socket
        self.idle_since = 0.0

    def get(self, target: str, headers: dict[str, str], deadline: Deadline) -> Any:
        """Send a request; return urllib3's response with its body unread and undecoded."""
        self._socket.deadline, self._socket.rest = deadline, "nothing"
        self._connection.timeout = deadline.wait_s()
        self._connection.request(
            "GET", target, headers=headers, preload_content=False, decode_content=False
        )
        return self._connection.getresponse()

    @property
    def rest(self) -> Rest:
        """What stood behind the answer when it had been read to its end."""
        return self._socket.rest

    @property
    def is_usable(self) -> bool:
        """Whether another request can be sent."""
        if self._connection.sock is None or self.rest != "nothing":
            return False
        return bool(self._connection.is_connected)

    def close(self) -> None:
        """Close it."""
        self._connection.close()


class Connections:
    """Makes connections, and keeps those that may be used again; for many threads."""

    def __init__(self, guard: Guard, connect_timeout_s: float):
        self._guard = guard
        self._connect_timeout_s = connect_timeout_s
        self._context = ssl.create_default_context()
        self._idle: list[Connection] = []
        self._turn = threading.Lock()

    def __del__(self) -> None:
        """Close what is kept, as sockets that are only forgotten are warned of."""
        for connection in self._idle:
            connection.close()

    def take_idle(self, origin: Origin) -> Connection | None:
        """Return a connection that was kept, None if there is none."""
        while True:
            with self._turn:
                kept = (i for i in reversed(range(len(self._idle))) if self._is_of(i, origin))
                found = next(kept, None)
                if found is None:
                    return None
                connection = self._idle.pop(found)
            is_fresh = time.monotonic() - connection.idle_since < _MAX_IDLE_S
            if is_fresh and connection.is_usable:
                return connection
            connection.close()

    def _is_of(self, position: int, origin: Origin) -> bool:
        return self._idle[position].origin == origin

    def keep(self, connection: Connection) -> None:
        """Keep a connection for the next request if it can be used, else close it."""
        if not connection.is_usable:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        with self._turn:
            self._idle.append(connection)
            oldest = self._idle.pop(0) if len(self._idle) > _MAX_IDLE else None
        if oldest:
            oldest.close()

    def open(self, origin: Origin, deadline: Deadline) -> Connection:
        """Connect to a host, at the first of its addresses that answers.

        Raises:
            ForbiddenAddressError: see `Guard.find_addresses`.
            urllib3.exceptions.HTTPError: if none does.
        """
        addresses = self._guard.find_addresses(origin.host, origin.port)
        for address in addresses[: _MAX_ADDRESSES - 1]:
            if address == addresses[-1]:
                break
            try:
                return self._connect(origin, address, deadline)
            except ConnectTimeoutError:  # A refusal is one of these too.
                continue
        return self._connect(origin, addresses[-1], deadline)

    def _connect(self, origin: Origin, address: str, deadline: Deadline) -> Connection:
        timeout_s = deadline.wait_s(self._connect_timeout_s)
        return Connection(origin, address, self._context, timeout_s)
