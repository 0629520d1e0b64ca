"""Google Cloud Storage: `GcsStore`, which speaks its JSON API.

The client library of Google tries again by rules of its own, and keeps an upload's state to itself;
what is used of it is how one is known to the store.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote

import google.auth
import requests
import urllib3
from google.auth import credentials as google_credentials
from google.auth import exceptions as auth
from google.auth import impersonated_credentials
from google.auth.transport.requests import AuthorizedSession
from requests.adapters import HTTPAdapter

from beamvec.transforms.files import retrying
from beamvec.transforms.files.errors import (
    ThrottledError,
    TransientError,
    conflict,
    error_of_status,
)
from beamvec.transforms.files.object_store import (
    ABSENT,
    CONNECT_TIMEOUT_S,
    CONNECTIONS,
    READ_TIMEOUT_S,
    Block,
    Found,
    Upload,
    split_object,
    split_uri,
    to_seconds,
)
from beamvec.transforms.files.storage import ListedFile

_BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError)


def find_credentials(scopes: Sequence[str], impersonated: str | None) -> Any:
    """Return Google's application default credentials, those of nobody where there are none.

    Args:
        scopes: what they are to be good for.
        impersonated: a service account to act as, after those that lead to it, with commas between.
    """
    try:
        found, _ = google.auth.default(scopes=scopes)
    except auth.DefaultCredentialsError:
        return google_credentials.AnonymousCredentials()
    if not impersonated:
        return found
    *delegates, target = impersonated.split(",")
    return impersonated_credentials.Credentials(found, target, scopes, delegates)


@contextmanager
def _os_errors(uri: str) -> Iterator[None]:
    """Turn what the libraries raise into an `OSError`."""
    try:
        yield
    except auth.GoogleAuthError as error:
        reason = _one_line(error.args[0] if error.args else error)
        if isinstance(error, auth.TransportError) or error.retryable:
            raise TransientError(errno.EIO, reason, uri) from error
        raise PermissionError(errno.EACCES, f"Access denied ({reason})", uri) from error
    except _BROKEN as error:
        raise TransientError(errno.EIO, _one_line(error), uri) from error


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _check(response: Any, uri: str) -> Any:
    """Raise what an answer means that is no success."""
    if response.status_code < 400 and response.status_code != 304:
        return response
    reason = f"the store answered {response.status_code}"
    with suppress(ValueError, TypeError, KeyError):
        reason = f"{reason}: {response.json()['error']['message']}"
    if response.status_code == 403 and "ateLimitExceeded" in response.text:
        raise ThrottledError(errno.EIO, reason, uri)
    raise error_of_status(response.status_code, reason, uri)


class GcsStore:
    """Objects in Google Cloud Storage.

    Args:
        credentials: of google-auth.
        headers: that go with every request.
    """

    def __init__(self, credentials: Any, headers: dict[str, str]):
        self._session = AuthorizedSession(credentials)
        self._session.headers.update(headers)
        adapter = HTTPAdapter(pool_maxsize=CONNECTIONS, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        host = os.environ.get("STORAGE_EMULATOR_HOST")
        host = host or f"https://storage.{credentials.universe_domain}"
        self._root = (host if "://" in host else f"http://{host}").rstrip("/")

    def _ask(self, uri: str, method: str, path: str, **options: Any) -> Any:
        """Ask something until there is an answer, and return it, read in full."""

        def try_once() -> Any:
            with _os_errors(uri):
                return _check(self.send(method, f"{self._root}{path}", **options), uri)

        return retrying.call(try_once)

    def send(self, method: str, url: str, **options: Any) -> Any:
        """Send a request once; what it means that an upload goes on, 308, is no redirection."""
        timeout = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        return self._session.request(method, url, timeout=timeout, allow_redirects=False, **options)

    def read(
        self, uri: str, start: int = 0, size: int | None = None, version: str | None = None
    ) -> Block:
        """Read an object from a place on, of that version if one is given."""
        # As it is stored: the store would unpack what is marked as gzip, and ranges with it.
        headers = {"Accept-Encoding": "gzip"}
        if size is not None:
            headers["Range"] = f"bytes={start}-{start + size - 1}"
        params = {"alt": "media", **({"ifGenerationMatch": version} if version else {})}
        url = f"{self._root}{_object(uri)}"

        def read_once() -> Block:
            with (
                _os_errors(uri),
                self.send("GET", url, params=params, headers=headers, stream=True) as response,
            ):
                if response.status_code == 416:  # Nothing is there to range over.
                    return Block(b"", 0, response.headers.get("X-Goog-Generation", ""))
                _check(response, uri)
                data = response.raw.read(decode_content=False)
                span = re.fullmatch(r"bytes .*/(\d+)", response.headers.get("Content-Range", ""))
                total = int(span[1]) if span else len(data)
                return Block(data, total, response.headers["X-Goog-Generation"])

        return retrying.call(read_once)

    def write(self, uri: str, content: bytes, version: str | None = None) -> str:
        """Write a whole object and return its version."""
        bucket, key = split_object(uri)
        params = {"uploadType": "media", "name": key, **_condition(version)}
        path = f"/upload/storage/v1/b/{bucket}/o"
        headers = {"Content-Type": "application/octet-stream"}
        try:
            answer = self._ask(uri, "POST", path, params=params, data=content, headers=headers)
        except FileNotFoundError:
            if not version:
                raise
            raise conflict(uri) from None
        return str(answer.json()["generation"])

    def begin(self, uri: str) -> Upload:
        """Begin to write a large object."""
        bucket, key = split_object(uri)
        params = {"uploadType": "resumable", "name": key}
        path = f"/upload/storage/v1/b/{bucket}/o"
        headers = {"X-Upload-Content-Type": "application/octet-stream"}
        answer = self._ask(uri, "POST", path, params=params, headers=headers, json={})
        return _ResumableUpload(self, uri, answer.headers["Location"])

    def look_up(self, uri: str) -> Found | None:
        """Return what the store tells of an object, None if there is none."""
        params = {"fields": "size,updated,generation"}
        try:
            found = self._ask(uri, "GET", _object(uri), params=params).json()
        except FileNotFoundError:
            return None
        return Found(int(found["size"]), _seconds(found["updated"]), found["generation"])

    def delete(self, uri: str, version: str | None = None) -> None:
        """Delete an object, of that version if one is given; none is no error."""
        with suppress(FileNotFoundError):
            self._ask(uri, "DELETE", _object(uri), params=_condition(version))

    def copy(self, source: str, target: str) -> None:
        """Copy an object of any size within the store, in as many requests as it wants."""
        path = f"{_object(source)}/rewriteTo{_object(target).removeprefix('/storage/v1')}"
        params: dict[str, str] = {}
        while True:
            answer = self._ask(target, "POST", path, params=params).json()
            if answer["done"]:
                return
            params["rewriteToken"] = answer["rewriteToken"]

    def list(self, prefix: str) -> Iterator[ListedFile]:
        """Yield the objects whose URIs begin so."""
        bucket, key = split_uri(prefix)
        params = {"prefix": key, "fields": "items(name,size,updated),nextPageToken"}
        while True:
            page = self._ask(prefix, "GET", f"/storage/v1/b/{bucket}/o", params=params).json()
            for item in page.get("items", ()):
                uri = f"gs://{bucket}/{item['name']}"
                yield ListedFile(uri, int(item["size"]), _seconds(item["updated"]))
            if not page.get("nextPageToken"):
                return
            params["pageToken"] = page["nextPageToken"]


def _object(uri: str) -> str:
    bucket, key = split_object(uri)
    return f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}"


def _condition(version: str | None) -> dict[str, str]:
    if version is None:
        return {}
    return {"ifGenerationMatch": "0" if version == ABSENT else version}


def _seconds(time: str) -> float:
    whole, _, fraction = time.rstrip("Z").partition(".")
    padded = f"{whole}.{fraction:0<6.6}+00:00"  # Python 3.10 wants all six digits.
    return to_seconds(datetime.fromisoformat(padded))


class _ResumableUpload:
    """A large object that appears when its last part is there.

    After a fault the store is asked what it has, and gets the rest.
    """

    def __init__(self, store: GcsStore, uri: str, url: str):
        self._store, self._uri, self._url = store, uri, url
        self._sent = 0

    def send(self, part: bytes) -> None:
        """Send the next part, of a multiple of 256 KiB."""
        self._put(part, "*")

    def finish(self, rest: bytes) -> None:
        """Send what is left, and let the object appear."""
        self._put(rest, str(self._sent + len(rest)))

    def _put(self, part: bytes, total: str) -> None:
        end = self._sent + len(part)
        tries = 0

        def put_once() -> None:
            nonlocal tries
            tries += 1
            at = self._sent if tries == 1 else self._ask_state(total)
            if at is None or (at == end and total == "*"):
                return
            rest = part[at - self._sent :]
            span = f"{at}-{end - 1}" if rest else "*"
            self._send(rest, f"bytes {span}/{total}")

        retrying.call(put_once)
        self._sent = end

    def _ask_state(self, total: str) -> int | None:
        """Return how many bytes the store has, None if the object is there."""
        response = self._send(b"", f"bytes */{total}")
        if response.status_code != 308:
            return None
        last = re.fullmatch(r"bytes=0-(\d+)", response.headers.get("Range", ""))
        return int(last[1]) + 1 if last else 0

    def _send(self, data: bytes, span: str) -> Any:
        with _os_errors(self._uri):
            headers = {"Content-Range": span}
            return _check(self._store.send("PUT", self._url, data=data, headers=headers), self._uri)

    def abort(self) -> None:
        """Throw away what was sent; the store does it by itself after a week."""
        with suppress(OSError), _os_errors(self._uri):
            self._store.send("DELETE", self._url)
