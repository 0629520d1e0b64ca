"""Reading and writing files on any Beam filesystem: whole reads with retries, atomic writes."""

from __future__ import annotations

import errno
import functools
import importlib.util
import os
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils import retry

from transforms.stores import StoreError, check_s3_credentials, os_errors

READ_ERRORS: tuple[type[Exception], ...] = (OSError, BeamIOError, ValueError)
"""What this module raises for a file that it cannot read.

`ValueError` is what `FileSystems` raises for a scheme that has no filesystem."""

_LASTING_ERRNOS = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
}
# What Beam's own filesystems need; without it S3's fails with an AssertionError.
# Without google_auth_httplib2 the one for GCS works, but asks everything as nobody.
_EXTRAS = {
    "s3": (("boto3",), "aws"),
    "gs": (("google.cloud.storage", "google_auth_httplib2"), "gcp"),
}
_READ_RETRIES = 3
_FIRST_DELAY_S = 0.5


def is_local(uri: str) -> bool:
    """Tell whether a URI is a plain path.

    >>> is_local("photos/a.jpg"), is_local("gs://bucket/a.jpg")
    (True, False)
    """
    return "://" not in uri


def check_filesystem(uri: str) -> None:
    """Raise `ValueError` if there is no filesystem for a URI, saying what to install.

    >>> check_filesystem("ftp://host/a.jpg")
    Traceback (most recent call last):
    ...
    ValueError: no filesystem for ftp://; use a local path, gs:// or s3://
    """
    if not is_local(uri):
        _check_scheme(uri.partition("://")[0])


@functools.cache
def _check_scheme(scheme: str) -> None:
    packages, extra = _EXTRAS.get(scheme, ((), None))
    if not all(map(is_installed, packages)):
        raise ValueError(f"{scheme}:// needs more packages: pip install 'beamvec[{extra}]'")
    try:
        FileSystems.get_filesystem(f"{scheme}://")
    except ValueError:
        message = f"no filesystem for {scheme}://; use a local path, gs:// or s3://"
        raise ValueError(message) from None
    if scheme == "s3":
        check_s3_credentials()


def is_installed(package: str) -> bool:
    """Tell whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # A package above it is missing.
        return False


def join(folder: str, *names: str) -> str:
    """Join path segments in the way of the folder's filesystem."""
    return str(FileSystems.join(folder, *names))


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, (ValueError, StoreError)):
        return False
    return getattr(error, "errno", None) not in _LASTING_ERRNOS


class ReadResult(NamedTuple):
    """What came of reading a file: its content or the error, and how often it was tried again."""

    data: bytes
    error: Exception | None
    retries: int


def try_read(uri: str) -> ReadResult:
    """Read a whole file, with up to three retries of transient errors, and never raise one."""
    delays_s = iter(retry.FuzzedExponentialIntervals(_FIRST_DELAY_S, _READ_RETRIES))
    retries = 0
    while True:
        try:
            return ReadResult(_read_once(uri), None, retries)
        except READ_ERRORS as error:
            delay_s = next(delays_s, None)
            if delay_s is None or not _is_transient(error):
                return ReadResult(b"", error, retries)
        time.sleep(delay_s)
        retries += 1


def read_bytes(uri: str) -> bytes:
    """Read a whole file, with up to three retries of transient errors.

    Raises:
        OSError: if the file cannot be read, or is no regular file (opening a pipe would hang).
        ValueError: if there is no filesystem for the URI's scheme.
    """
    result = try_read(uri)
    if result.error:
        raise result.error
    return result.data


def _read_once(uri: str) -> bytes:
    check_filesystem(uri)
    if is_local(uri):
        _require_regular_file(uri)
        with open(uri, "rb", buffering=0) as file:  # A third of the time that Beam takes.
            return file.read()
    with open_file(uri, CompressionTypes.UNCOMPRESSED) as file:
        return bytes(file.read())


@contextmanager
def open_file(uri: str, compression: str = CompressionTypes.AUTO) -> Iterator[BinaryIO]:
    """Open a file for reading; its compression is told by its name's extension.

    Raises:
        OSError: if the file cannot be read, be it on opening or later.
    """
    with os_errors(uri), FileSystems.open(uri, compression_type=compression) as file:
        yield file


def _require_regular_file(path: str) -> None:
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", path)


def read_lines(path: str) -> Iterator[str]:
    r"""Yield the lines of a UTF-8 text file without their line ends, blank ones left out.

    Compression is told by the name's extension. Bytes that are no UTF-8 come escaped, as `\xe9`.
    """
    with open_file(path) as file:
        while line := file.readline():
            text = line.decode("utf-8", "backslashreplace").strip("\ufeff\r\n")
            if text.strip():
                yield text


@contextmanager
def open_atomically(path: str) -> Iterator[BinaryIO]:
    """Open a file for writing under a temporary name, and rename it at the end of the block.

    So it is whole or not there. Its folder is made if it is missing.
    """
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        with os_errors(path):
            uncompressed = CompressionTypes.UNCOMPRESSED
            with FileSystems.create(temporary, compression_type=uncompressed) as file:
                yield file
                if is_local(path):  # Else a power cut could leave the name without the content.
                    file.flush()
                    os.fsync(file.fileno())
            FileSystems.rename([temporary], [path])
    except BaseException:
        with suppress(*READ_ERRORS):  # The first error tells more.
            delete(temporary)
        raise


def write_file(path: str, content: bytes) -> None:
    """Write a small file atomically."""
    with open_atomically(path) as file:
        file.write(content)


def exists(path: str) -> bool:
    """Tell whether a file or folder exists."""
    with os_errors(path):
        return bool(FileSystems.exists(path))


def delete(path: str) -> None:
    """Delete a file or a folder with all that it holds; what does not exist is no error."""
    if is_local(path):
        if exists(path):
            FileSystems.delete([path])
        return
    files = list_files(path) or [path]
    if exists(files[0]):
        with os_errors(path):
            FileSystems.delete(files)


def rename(source: str, target: str) -> None:
    """Move a file, over one that is there."""
    if is_local(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
    with os_errors(target):
        FileSystems.rename([source], [target])


def list_files(folder: str) -> list[str]:
    """List the files right below a folder; a folder that does not exist is empty."""
    try:
        if is_local(folder):  # Beam looks up each file's size and time: 13 times slower.
            with os.scandir(folder) as entries:
                return [entry.path for entry in entries if entry.is_file()]
        return [metadata.path for metadata in match(join(folder, "*"))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def match(pattern: str, limit: int | None = None) -> list[FileMetadata]:
    """List the files that a pattern names, of remote ones at most `limit`.

    The empty objects with a slash at the end that stand for folders in some stores are left out.
    """
    with os_errors(pattern):
        found = FileSystems.match([pattern], [limit])[0].metadata_list
    return [metadata for metadata in found if not metadata.path.endswith("/")]
