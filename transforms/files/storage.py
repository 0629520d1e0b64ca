"""Files, local and on any Beam filesystem: whole reads with retries, atomic writes, listings.

Whatever goes wrong is an `OSError`. Local files are handled here, so that whoever needs no other
ones does not wait for Beam's import; what lies elsewhere is the business of `stores`. A local path
means the file of exactly that name: nothing here takes a name for a pattern but `match`.
"""

from __future__ import annotations

import errno
import functools
import importlib.util
import os
import random
import re
import stat
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from types import ModuleType
from typing import BinaryIO, NamedTuple

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
_COMPRESSED = (".bz2", ".deflate", ".gz", ".lzma", ".zst")
"""Extensions by which Beam tells compressed files."""

_READ_RETRIES = 3
_FIRST_DELAY_S = 0.5


class StoreError(OSError):
    """An object store failed; Beam or the store's client has retried what might have passed."""


class NoStoreError(OSError):
    """A URI leads to no store: its scheme is unknown, or needs a package or credentials."""


class ListedFile(NamedTuple):
    """A file as a listing tells of it; None for what the listing does not tell."""

    path: str
    size_bytes: int | None
    modified_s: float | None


def is_local(uri: str) -> bool:
    """Tell whether a URI is a plain path.

    >>> is_local("photos/a.jpg"), is_local("gs://bucket/a.jpg")
    (True, False)
    """
    return "://" not in uri


@functools.cache
def _stores() -> ModuleType:
    return importlib.import_module("beamvec.transforms.files.stores")


def check_store(uri: str) -> None:
    """Raise `NoStoreError` if a URI leads to no store, saying what to install or to set.

    >>> check_store("ftp://host/a.jpg")
    Traceback (most recent call last):
    ...
    beamvec.transforms.files.storage.NoStoreError: no filesystem for ftp://; use a local path, \
gs:// or s3://
    """
    if not is_local(uri):
        _stores().check_scheme(uri.partition("://")[0])


def is_installed(package: str) -> bool:
    """Tell whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # A package above it is missing.
        return False


@contextmanager
def _local_errors(path: str) -> Iterator[None]:
    """Turn what Python raises for names that no file can have into an `OSError`."""
    try:
        yield
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), path) from error


def join(folder: str, *names: str) -> str:
    """Join path segments, of local paths and URIs alike."""
    return "/".join((folder.rstrip("/"), *names))


def _is_transient(error: OSError) -> bool:
    if isinstance(error, (NoStoreError, StoreError)):
        return False
    return error.errno not in _LASTING_ERRNOS


class ReadResult(NamedTuple):
    """What came of reading a file: its content or the error, and how often it was tried again."""

    data: bytes
    error: OSError | None
    retries: int


def try_read(uri: str) -> ReadResult:
    """Read a whole file, with up to three retries of transient errors, and never raise one."""
    retries = 0
    while True:
        try:
            return ReadResult(_read_once(uri), None, retries)
        except OSError as error:
            if retries == _READ_RETRIES or not _is_transient(error):
                return ReadResult(b"", error, retries)
        # Many readers fail at the same moment: the jitter keeps them from coming back together.
        time.sleep(_FIRST_DELAY_S * 2**retries * random.uniform(0.5, 1.5))
        retries += 1


def read_bytes(uri: str) -> bytes:
    """Read a whole file, with up to three retries of transient errors.

    Raises:
        OSError: if the file cannot be read, or is no regular file (opening a pipe would hang).
        NoStoreError: an `OSError`, if the URI leads to no store.
    """
    result = try_read(uri)
    if result.error:
        raise result.error
    return result.data


def _read_once(uri: str) -> bytes:
    check_store(uri)
    if not is_local(uri):
        return bytes(_stores().read(uri))
    with _local_errors(uri):
        _require_regular_file(uri)
        with open(uri, "rb", buffering=0) as file:
            return file.read()


def _require_regular_file(path: str) -> None:
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", path)


def open_file(uri: str) -> AbstractContextManager[BinaryIO]:
    """Open a file for reading; its compression is told by its name's extension.

    Raises:
        OSError: if the file cannot be read, be it on opening or later.
    """
    if is_local(uri) and not uri.endswith(_COMPRESSED):
        return _open_local(uri)
    opened: AbstractContextManager[BinaryIO] = _stores().open_file(uri)
    return opened


@contextmanager
def _open_local(path: str) -> Iterator[BinaryIO]:
    with _local_errors(path):
        file = open(path, "rb")  # noqa: SIM115 Closed below; what readers raise is theirs.
    with file:
        yield file


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
    create = _create_local if is_local(path) else _stores().create
    try:
        with create(temporary, path) as file:
            yield file
        rename(temporary, path)
    except BaseException:
        with suppress(OSError):  # The first error tells more.
            delete(temporary)
        raise


@contextmanager
def _create_local(path: str, _: str) -> Iterator[BinaryIO]:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        yield file
        file.flush()  # Else a power cut could leave the name without the content.
        os.fsync(file.fileno())


def write_file(path: str, content: bytes) -> None:
    """Write a small file atomically."""
    with open_atomically(path) as file:
        file.write(content)


def exists(path: str) -> bool:
    """Tell whether a file or folder exists."""
    return os.path.exists(path) if is_local(path) else bool(_stores().exists(path))


def delete(path: str) -> None:
    """Delete a file; what does not exist is no error. No folder is deleted with its content."""
    if not is_local(path):
        _stores().delete([path])
        return
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)


def rename(source: str, target: str) -> None:
    """Move a file, over one that is there."""
    if not is_local(target):
        _stores().rename(source, target)
        return
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    os.replace(source, target)


def list_files(folder: str) -> list[str]:
    """List the files right below a folder; a folder that does not exist is empty."""
    try:
        if not is_local(folder):
            return [file.path for file in match(join(literal(folder), "*"))]
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []


class Entry(NamedTuple):
    """What stands below a folder.

    Attributes:
        path: its path.
        size_bytes: its size.
        is_file: whether it is a plain file: no link, pipe or device.
    """

    path: str
    size_bytes: int | None
    is_file: bool


def list_tree(folder: str) -> list[Entry]:
    """List all but folders below a folder, at any depth; links are listed, and not followed.

    A folder that does not exist is empty; one that is a link is listed as itself.
    """
    if not is_local(folder):
        with suppress(FileNotFoundError):
            found = match(join(literal(folder), "**"))
            return [Entry(file.path, file.size_bytes, True) for file in found]
        return []
    if os.path.islink(folder) or os.path.isfile(folder):
        return [Entry(folder, None, False)]
    return list(_walk(folder)) if os.path.isdir(folder) else []


def _walk(folder: str) -> Iterator[Entry]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            else:
                size_bytes = entry.stat(follow_symlinks=False).st_size
                yield Entry(entry.path, size_bytes, entry.is_file(follow_symlinks=False))


def delete_files(paths: Sequence[str], folder: str) -> None:
    """Delete files below a folder, and then the folder and those in it that hold nothing more."""
    if not is_local(folder):
        if paths:
            _stores().delete(list(paths))  # Many in one request.
        return
    for path in paths:
        delete(path)
    if os.path.isdir(folder) and not os.path.islink(folder):
        for at, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):  # Something is in it that was not to be deleted.
                os.rmdir(at)


def literal(path: str) -> str:
    """Quote the characters of a path that `match` would take for a pattern's.

    >>> literal("gs://bucket/run[1]")
    'gs://bucket/run[[]1]'
    """
    return re.sub(r"([*?\[])", r"[\1]", path)


def match(pattern: str, limit: int | None = None) -> list[ListedFile]:
    """List the files that a pattern of a store names, at most `limit`.

    The empty objects with a slash at the end that stand for folders in some stores are left out.
    """
    found: list[ListedFile] = _stores().match(pattern, limit)
    return found
