"""Object stores: their errors as those of local files, credentials, and one client of S3's.

Beam's filesystems let each store's own exceptions through, some of them in a `BeamIOError`.
"""

from __future__ import annotations

import errno
import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from apache_beam.io.aws.clients.s3 import boto3_client
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import S3Options

_ERRORS = {
    "apache_beam.io.aws.clients.s3.messages": "S3ClientError",
    "botocore.exceptions": "BotoCoreError",
    "google.api_core.exceptions": "GoogleAPIError",
    "google.auth.exceptions": "GoogleAuthError",
    "google.cloud.storage.exceptions": "InvalidResponse",
    "google.resumable_media": "InvalidResponse",
    "urllib3.exceptions": "HTTPError",
}


class StoreError(OSError):
    """An object store failed; Beam or the store's client has retried what might have passed."""


def _import_errors() -> Iterator[type[Exception]]:
    for module, name in _ERRORS.items():
        try:
            yield getattr(importlib.import_module(module), name)
        except ImportError:  # That store's packages are not installed.
            continue


_STORE_ERRORS: tuple[type[Exception], ...] = (BeamIOError, *_import_errors())


@contextmanager
def os_errors(uri: str) -> Iterator[None]:
    """Turn what a store raises in the block into an `OSError` that names the URI.

    Raises:
        FileNotFoundError: if there is no such object or bucket.
        PermissionError: if the store refuses access.
        StoreError: for all else.

    >>> with os_errors("s3://bucket/key"):
    ...     raise BeamIOError("Rename operation failed", {("a", "b"): 404})
    Traceback (most recent call last):
    ...
    FileNotFoundError: [Errno 2] No such object or bucket: 's3://bucket/key'
    """
    try:
        yield
    except _STORE_ERRORS as error:
        raised = _to_os_error(error, uri)
        if raised is error:
            raise
        raise raised from error


def _to_os_error(error: Any, uri: str) -> Exception:
    while isinstance(error, BeamIOError) and error.exception_details:
        error = next(iter(error.exception_details.values()))
    if isinstance(error, (OSError, ValueError)):
        return error
    code = _status_code(error)
    if code == 404:
        return FileNotFoundError(errno.ENOENT, "No such object or bucket", uri)
    if code in (401, 403):
        return PermissionError(errno.EACCES, f"Access denied ({_message(error)})", uri)
    return StoreError(errno.EIO, _message(error), uri)


def _status_code(error: Any) -> int | None:
    if isinstance(error, int):  # Beam's GCS filesystem gives nothing else for a batch.
        return error
    response = getattr(error, "response", None)
    return getattr(error, "code", None) or getattr(response, "status_code", None)


def _message(error: Any) -> str:
    if isinstance(error, int):
        return f"the store answered {error}"
    text = getattr(error, "message", None) or next(iter(getattr(error, "args", ())), error)
    return " ".join(str(text).split()) or type(error).__name__


def check_s3_credentials() -> None:
    """Raise `ValueError` if there are no credentials for S3.

    Without them Beam tries each request again for ten minutes.
    """
    options = FileSystems._pipeline_options
    if options is not None and options.view_as(S3Options).s3_access_key_id:
        return
    advice = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    try:
        found = importlib.import_module("boto3").session.Session().get_credentials()
    except _STORE_ERRORS as error:
        raise ValueError(f"no credentials for s3://: {_message(error)}; {advice}") from error
    if found is None:
        raise ValueError(f"no credentials for s3://; {advice}")


class _SharedSession:
    """Stands for boto3's session in Beam's S3 client, and makes each client once per process.

    Beam asks for a session and a client for every single operation on a file. Making them takes
    0.1 s of a core under Python's lock; using them from many threads is what boto3 allows.
    """

    _clients: dict[str, Any] = {}  # noqa: RUF012 Shared on purpose.
    _lock = threading.Lock()

    def client(self, **settings: Any) -> Any:
        with self._lock:
            key = repr(sorted(settings.items()))
            if key not in self._clients:
                session = importlib.import_module("boto3").session.Session()
                self._clients[key] = session.client(**settings)
            return self._clients[key]


if boto3_client.boto3 is not None:
    boto3_client.boto3 = SimpleNamespace(session=SimpleNamespace(Session=_SharedSession))
