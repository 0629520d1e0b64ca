"""Requests to Google Cloud Storage, of somebody or nobody, with the errors of files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

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
    NoStoreError,
    ThrottledError,
    TransientError,
    error_of_status,
)
from beamvec.transforms.files.object_store import (
    CONNECT_TIMEOUT_S,
    CONNECTIONS,
    READ_TIMEOUT_S,
)

_BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError)


def find_credentials(scopes: Sequence[str], impersonated: str | None) -> Any:
    """Return Google's application default credentials, those of nobody where there are none.

    Raises:
        NoStoreError: if those that are named cannot be used.

    Args:
        scopes: what they are to be good for.
        impersonated: a service account to act as, after those that lead to it, with commas between.
    """
    try:
        found, _ = google.auth.default(scopes=scopes)
    except auth.DefaultCredentialsError as error:
        if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
            raise NoStoreError(f"no credentials for gs://: {_one_line(error)}") from error
        return google_credentials.AnonymousCredentials()
    if not impersonated:
        return found
    *delegates, target = impersonated.split(",")
    return impersonated_credentials.Credentials(found, target, scopes, delegates)


@contextmanager
def os_errors(uri: str) -> Iterator[None]:
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


def check(response: Any, uri: str) -> Any:
    """Raise what an answer means that is no success."""
    if response.status_code < 400 and response.status_code != 304:
        return response
    reason = f"the store answered {response.status_code}"
    with suppress(ValueError, TypeError, KeyError):
        reason = f"{reason}: {response.json()['error']['message']}"
    if response.status_code == 403 and "ateLimitExceeded" in response.text:
        raise ThrottledError(errno.EIO, reason, uri)
    raise error_of_status(response.status_code, reason, uri)


class GcsSession:
    """What many threads send requests with.

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

    def ask(self, uri: str, method: str, path: str, **options: Any) -> Any:
        """Ask something until there is an answer, and return it, read in full."""

        def try_once() -> Any:
            with os_errors(uri):
                return check(self.send(method, path, **options), uri)

        return retrying.call(try_once)

    def send(self, method: str, path: str, **options: Any) -> Any:
        """Send a request once; what it means that an upload goes on, 308, is no redirection."""
        url = path if "://" in path else f"{self._root}{path}"
        timeout = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        return self._session.request(method, url, timeout=timeout, allow_redirects=False, **options)
