"""Images over http and https, one request after the other: `Fetcher`."""

from __future__ import annotations

import errno
import urllib.parse
from http.client import HTTPException
from typing import Any, NamedTuple

from urllib3.exceptions import HTTPError, LocationValueError
from urllib3.util import Url, make_headers, parse_url

from beamvec.transforms.files import retrying
from beamvec.transforms.files.errors import StoreError
from beamvec.transforms.files.http_body import read_body
from beamvec.transforms.files.http_connections import Connection, Connections, Deadline, Origin
from beamvec.transforms.files.http_errors import (
    LengthError,
    RobotsTagError,
    UnreachableError,
    error_of_answer,
    explain,
    patience_s,
)
from beamvec.transforms.files.http_guard import Guard, allow_all
from beamvec.transforms.files.http_robots import find_refusal, product_of
from beamvec.transforms.files.http_turns import DownHosts, Turns
from beamvec.transforms.files.urls import UrlSettings

MAX_REDIRECTS = 10

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_DRAINED_BYTES = 1 << 16
"""What is read of a body that nobody needs, so that the connection can be used again."""


class _Hop(NamedTuple):
    """What came of one request: where it leads on, an error to raise, or the content."""

    location: str | None = None
    error: OSError | None = None
    content: bytes = b""


class Fetcher:
    """Reads images from URLs, for all threads of a process.

    Args:
        settings: how.
        guard: what may be connected to, None for what the settings say.
    """

    def __init__(self, settings: UrlSettings, guard: Guard | None = None):
        allowed = Guard(explain_refusal=allow_all) if settings.allow_private_hosts else Guard()
        self._settings = settings
        self._connections = Connections(guard or allowed, settings.connect_timeout_s)
        self._turns = Turns(settings.connections_per_host)
        self._down = DownHosts()

    def read(self, url: str, limit_bytes: int | None = None) -> bytes:
        """Read what is at a URL, or no more than its first bytes, trying again what may pass.

        Raises:
            OSError: which never names the URL, as that may be signed.
        """
        host = _origin_of(_parse(url)).host
        patience = (lambda _: 0.0) if host in self._down else patience_s
        try:
            return retrying.call(lambda: self.read_once(url, limit_bytes), patience)
        except StoreError as error:
            if isinstance(error.__cause__, UnreachableError):
                self._down.add(host)
            raise

    def read_once(self, url: str, limit_bytes: int | None = None) -> bytes:
        """Read what is at a URL, through redirects, with no second try."""
        deadline = Deadline(self._settings.fetch_timeout_s, self._settings.silence_timeout_s)
        at = _parse(url)
        for _ in range(MAX_REDIRECTS + 1):
            hop = self._take_hop(at, deadline, limit_bytes)
            if hop.error:
                raise hop.error
            if hop.location is None:
                return hop.content
            at = _parse(urllib.parse.urljoin(at.url, hop.location))
        raise StoreError(errno.EIO, f"redirected more than {MAX_REDIRECTS} times")

    def _take_hop(self, url: Url, deadline: Deadline, limit_bytes: int | None) -> _Hop:
        origin = _origin_of(url)
        with self._turns.take(origin.host) as waited_s:
            deadline.put_off(waited_s)
            try:
                connection, response = self._ask(origin, url, deadline)
                try:
                    hop = self._read_answer(response, limit_bytes)
                    _check_length(connection, response)
                except BaseException:
                    # What is left of a body would be taken for the next answer.
                    connection.close()
                    raise
            except StoreError:
                raise
            except (OSError, HTTPError, HTTPException, ValueError) as error:
                raise explain(error, deadline, self._settings) from error
            if response.closed:
                self._connections.keep(connection)
            else:
                connection.close()
        return hop

    def _ask(self, origin: Origin, url: Url, deadline: Deadline) -> tuple[Connection, Any]:
        """Send a request; return the connection, and the response with its body unread."""
        headers = self._make_headers(url)
        if connection := self._connections.take_idle(origin):
            try:
                return connection, connection.get(url.request_uri, headers, deadline)
            except ConnectionError:  # The host has closed it just now; that says nothing of it.
                connection.close()
            except BaseException:
                connection.close()
                raise
        connection = self._connections.open(origin, deadline)
        try:
            return connection, connection.get(url.request_uri, headers, deadline)
        except BaseException:
            connection.close()
            raise

    def _make_headers(self, url: Url) -> dict[str, str]:
        headers = {
            "Host": (url.host or "") + (f":{url.port}" if url.port else ""),
            "User-Agent": self._settings.user_agent,
            "Accept": "image/*,*/*;q=0.8",
            "Accept-Encoding": "identity",
        }
        if url.auth:
            headers |= make_headers(basic_auth=urllib.parse.unquote(url.auth))
        return headers

    def _read_answer(self, response: Any, limit_bytes: int | None) -> _Hop:
        tags = response.headers.getlist("X-Robots-Tag")
        refusal = find_refusal(tags, product_of(self._settings.user_agent))
        if refusal and not self._settings.ignore_robots_tag:
            reason = f"its owner refuses it: X-Robots-Tag {refusal}"
            raise RobotsTagError(errno.EACCES, f"{reason} (`ignore_robots_tag` reads it)")
        if response.status == 200:
            return _Hop(content=read_body(response, limit_bytes))
        response.read(_DRAINED_BYTES)
        location = response.headers.get("Location")
        if response.status in _REDIRECTS and location:
            return _Hop(location=_decode(location))
        return _Hop(error=error_of_answer(response.status, response.headers.get("Retry-After")))


def _check_length(connection: Connection, response: Any) -> None:
    """Find bytes behind a body's end: a header that says too little would cut an image."""
    is_whole = response.status == 200 and response.closed
    if is_whole and connection.rest == "more" and "Content-Length" in response.headers:
        raise LengthError(errno.EIO, "more bytes come than Content-Length says")


def _parse(url: str) -> Url:
    """Return the parts of a URL, escaped as they are sent."""
    try:
        parsed = parse_url(url)
    except LocationValueError as error:  # Whose message has the URL in it.
        raise StoreError(errno.EINVAL, "not a URL") from error
    if parsed.scheme not in _PORTS or not parsed.host:
        scheme = (parsed.scheme or "nothing")[:20]
        raise StoreError(errno.EINVAL, f"leads to {scheme}://, which is neither http nor https")
    return parsed


def _origin_of(url: Url) -> Origin:
    scheme = url.scheme or ""
    host = (url.host or "").removeprefix("[").removesuffix("]")
    return Origin(scheme, host, url.port or _PORTS[scheme])


def _decode(location: str) -> str:
    """Return a header as what it most often is, UTF-8; `http.client` takes it for Latin-1."""
    try:
        return location.encode("latin-1").decode()
    except UnicodeError:
        return location
