"""Object stores, by Beam's filesystems, with errors like those of local files.

Beam's filesystems let each store's own exceptions through, some of them in a `BeamIOError`.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import importlib
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, BinaryIO

from apache_beam.io.aws.clients.s3 import boto3_client
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import S3Options

from beamvec.transforms.files import storage
from beamvec.transforms.files.storage import ConflictError, ListedFile, NoStoreError, StoreError

_ERRORS = {
    "apache_beam.io.aws.clients.s3.messages": "S3ClientError",
    "botocore.exceptions": "BotoCoreError",
    "google.api_core.exceptions": "GoogleAPIError",
    "google.auth.exceptions": "GoogleAuthError",
    "google.cloud.storage.exceptions": "InvalidResponse",
    "google.resumable_media": "InvalidResponse",
    "urllib3.exceptions": "HTTPError",
}


# What Beam's own filesystems need; without it S3's fails with an AssertionError.
# Without google_auth_httplib2 the one for GCS works, but asks everything as nobody.
_EXTRAS = {
    "s3": (("boto3",), "aws"),
    "gs": (("google.cloud.storage", "google_auth_httplib2"), "gcp"),
}


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


def _call(uri: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call something of Beam's for a URI; whatever goes wrong is an `OSError`."""
    if not storage.is_local(uri):
        check_scheme(uri.partition("://")[0])
    with os_errors(uri):
        try:
            return function(*args, **options)
        except ValueError as error:  # A name that the scheme's filesystem cannot parse.
            raise OSError(errno.EINVAL, str(error), uri) from error


def _to_os_error(error: Any, uri: str) -> Exception:
    while isinstance(error, BeamIOError) and error.exception_details:
        error = next(iter(error.exception_details.values()))
    if isinstance(error, OSError):
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


@functools.cache
def check_scheme(scheme: str) -> None:
    """Raise `NoStoreError` if URIs of a scheme lead nowhere, saying what to install or to set."""
    packages, extra = _EXTRAS.get(scheme, ((), None))
    if not all(map(storage.is_installed, packages)):
        raise NoStoreError(f"{scheme}:// needs more packages: pip install 'beamvec[{extra}]'")
    try:
        FileSystems.get_filesystem(f"{scheme}://")
    except ValueError:
        message = f"no filesystem for {scheme}://; use a local path, gs:// or s3://"
        raise NoStoreError(message) from None
    if scheme == "s3":
        _check_s3_credentials()


def _check_s3_credentials() -> None:
    """Raise `NoStoreError` if there are no credentials for S3.

    Without them Beam tries each request again for ten minutes.
    """
    options = FileSystems._pipeline_options
    if options is not None and options.view_as(S3Options).s3_access_key_id:
        return
    advice = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    try:
        found = importlib.import_module("boto3").session.Session().get_credentials()
    except _STORE_ERRORS as error:
        raise NoStoreError(f"no credentials for s3://: {_message(error)}; {advice}") from error
    if found is None:
        raise NoStoreError(f"no credentials for s3://; {advice}")


def read(uri: str) -> bytes:
    """Read a whole object."""
    with os_errors(uri), _open(uri, CompressionTypes.UNCOMPRESSED) as file:
        return bytes(file.read())


@contextmanager
def open_file(uri: str) -> Iterator[BinaryIO]:
    """Open an object, or a compressed local file, for reading."""
    with os_errors(uri), _open(uri, CompressionTypes.AUTO) as file:
        yield file


def _open(uri: str, compression: str) -> Any:
    return _call(uri, FileSystems.open, uri, compression_type=compression)


@contextmanager
def create(uri: str) -> Iterator[BinaryIO]:
    """Open an object for writing under a temporary name, and rename it at the end of the block."""
    temporary = f"{uri}.{uuid.uuid4().hex}.tmp"
    uncompressed = CompressionTypes.UNCOMPRESSED
    try:
        with (
            os_errors(uri),
            _call(uri, FileSystems.create, temporary, compression_type=uncompressed) as file,
        ):
            yield file
        rename(temporary, uri)
    except BaseException:
        with suppress(OSError):  # The first error tells more.
            delete(temporary)
        raise


def read_versioned(uri: str) -> tuple[bytes, str] | None:
    """Read an object and its version."""
    try:
        content = read(uri)
    except FileNotFoundError:
        return None
    return content, hashlib.sha256(content).hexdigest()


def write_if(uri: str, content: bytes, version: str | None) -> str:
    """Write an object if it has that version."""
    _check(uri, version)
    with create(uri) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def delete_if(uri: str, version: str) -> None:
    """Delete an object if it has that version."""
    if exists(uri):
        _check(uri, version)
        delete(uri)


def has_conditions(_: str) -> bool:
    """Tell whether the store obeys conditions."""
    return False


def _check(uri: str, version: str | None) -> None:
    found = read_versioned(uri)
    if (found[1] if found else None) != version:
        raise ConflictError(errno.EEXIST, "Written by somebody else meanwhile", uri)


def exists(uri: str) -> bool:
    """Tell whether an object exists."""
    return bool(_call(uri, FileSystems.exists, uri))


def delete(uri: str) -> None:
    """Delete an object; what does not exist is no error."""
    delete_files([uri], "")


def delete_files(uris: Sequence[str], _: str) -> None:
    """Delete some objects; if the first does not exist, none of them does."""
    if uris and exists(uris[0]):
        # Beam's filesystem for GCS takes what it deletes for patterns.
        quoted = [storage.literal(uri) if uri.startswith("gs://") else uri for uri in uris]
        _call(uris[0], FileSystems.delete, quoted)


def rename(source: str, target: str) -> None:
    """Move an object, over one that is there."""
    _call(target, FileSystems.rename, [source], [target])


def match(pattern: str, limit: int | None) -> list[ListedFile]:
    """List the objects that a pattern names, see `storage.match`."""
    found = _call(pattern, FileSystems.match, [pattern], [limit])[0].metadata_list
    return [
        ListedFile(file.path, file.size_in_bytes, file.last_updated_in_seconds or None)
        for file in found
        if not file.path.endswith("/")
    ]


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
