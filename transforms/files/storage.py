"""Files, wherever they are: whole reads, atomic writes, conditional ones, listings.

Whatever goes wrong is an `OSError`; what may pass has been tried again. Local files are the
business of `local`, others of what `stores` finds for them, so that whoever needs no other ones
does not wait for their libraries. A local path means the file of exactly that name: nothing here
takes a name for a pattern but `match`.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from io import RawIOBase
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple

from beamvec.transforms.files import retrying
from beamvec.transforms.files.errors import ConflictError as ConflictError
from beamvec.transforms.files.errors import NoStoreError as NoStoreError
from beamvec.transforms.files.errors import StoreError as StoreError

_COMPRESSED = (".bz2", ".deflate", ".gz", ".lzma", ".zst")
"""Extensions by which Beam tells compressed files."""


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


@functools.cache
def _module(name: str) -> ModuleType:
    return importlib.import_module(f"beamvec.transforms.files.{name}")


def _place(path: str) -> Any:
    """Return what does all that is asked for a path: `local`, or what `stores` finds for it."""
    return _module("local") if is_local(path) else _module("stores").find(path)


def check_store(uri: str) -> None:
    """Raise an `OSError` if a URI leads to no store, saying what to install or to set.

    >>> check_store("ftp://host/a.jpg")
    Traceback (most recent call last):
    ...
    beamvec.transforms.files.errors.NoStoreError: no filesystem for ftp://; use a local path, \
gs:// or s3://
    """
    if not is_local(uri):
        _module("stores").check(uri)


def is_installed(package: str) -> bool:
    """Tell whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # A package above it is missing.
        return False


def join(folder: str, *names: str) -> str:
    """Join path segments, of local paths and URIs alike."""
    return "/".join((folder.rstrip("/"), *names))


class ReadResult(NamedTuple):
    """What came of reading a file: its content or the error, and how often it was tried again."""

    data: bytes
    error: OSError | None
    retries: int


def try_read(uri: str, limit_bytes: int | None = None) -> ReadResult:
    """Read a file, or no more than its first bytes, and never raise an `OSError`.

    What may pass is tried again.
    """
    with retrying.counted() as retries:
        try:
            return ReadResult(bytes(_place(uri).read(uri, limit_bytes)), None, retries())
        except OSError as error:
            return ReadResult(b"", error, retries())


def read_bytes(uri: str) -> bytes:
    """Read a whole file, trying again what may pass.

    Raises:
        OSError: if the file cannot be read, or is no regular file (opening a pipe would hang).
        NoStoreError: an `OSError`, if the URI leads to no store.
    """
    result = try_read(uri)
    if result.error:
        raise result.error
    return result.data


def open_file(uri: str) -> AbstractContextManager[BinaryIO]:
    """Open a file for reading; its compression is told by its name's extension.

    Raises:
        OSError: if the file cannot be read, be it on opening or later.
    """
    if not uri.endswith(_COMPRESSED):
        return open_as_stored(uri)
    opened: AbstractContextManager[BinaryIO] = _module("stores").open_compressed(uri)
    return opened


def open_as_stored(uri: str) -> AbstractContextManager[BinaryIO]:
    """Open a file for reading, compressed or not."""
    opened: AbstractContextManager[BinaryIO] = _place(uri).open_file(uri)
    return opened


def open_ranged(uri: str) -> AbstractContextManager[RawIOBase]:
    """Open a file for reads anywhere in it: each read asks for just the bytes that it names.

    Whether it is compressed does not matter. Reads may give less than was asked for.
    """
    opened: AbstractContextManager[RawIOBase] = _place(uri).open_ranged(uri)
    return opened


def read_lines(path: str) -> Iterator[str]:
    r"""Yield the lines of a UTF-8 text file without their line ends, blank ones left out.

    Compression is told by the name's extension. Bytes that are no UTF-8 come as in
    names of files, as `\udce9`.
    """
    with open_file(path) as file:
        while line := file.readline():
            text = line.decode("utf-8", "surrogateescape").strip("\ufeff\r\n")
            if text.strip():
                yield text


def open_atomically(path: str) -> AbstractContextManager[BinaryIO]:
    """Open a file for writing; it appears at the end of the block, whole, or not at all.

    Its folder is made if it is missing.
    """
    opened: AbstractContextManager[BinaryIO] = _place(path).create(path)
    return opened


def write_file(path: str, content: bytes) -> None:
    """Write a small file atomically."""
    with open_atomically(path) as file:
        file.write(content)


def read_versioned(path: str, limit_bytes: int | None = None) -> tuple[bytes, str] | None:
    """Read a file and its version: what the store calls so, or the SHA-256 of the content.

    Args:
        path: the file.
        limit_bytes: read no more than its first bytes; the version is of the whole file.

    Returns:
        Both, None if there is no such file.
    """
    found: tuple[bytes, str] | None = _place(path).read_versioned(path, limit_bytes)
    return found


def write_if(path: str, content: bytes, version: str | None) -> str:
    """Write a small file if what is there has a version, and return the new one.

    On a store it is the store that compares. Locally nobody does while the file is written:
    callers hold the folder's lock.

    Args:
        path: the file.
        content: what it is to hold.
        version: as read before; None if the file must not be there.

    Raises:
        ConflictError: if somebody else has written or deleted the file meanwhile. An answer that
            was lost is none: if the file holds just this content after a retry, it is ours.
    """
    return str(_place(path).write_if(path, content, version))


def delete_if(path: str, version: str) -> None:
    """Delete a file if it has that version; what does not exist is no error.

    Raises:
        ConflictError: if somebody else has written the file meanwhile.
    """
    _place(path).delete_if(path, version)


def has_conditions(path: str) -> bool:
    """Tell whether writes obey conditions where a file is; a store is asked once a bucket."""
    return bool(_place(path).has_conditions(path))


def flush_folder(path: str) -> None:
    """Make durable what was renamed into a folder or deleted there; stores are so always."""
    if is_local(path):
        _place(path).flush_folder(path)


def exists(path: str) -> bool:
    """Tell whether a file or folder exists."""
    return bool(_place(path).exists(path))


def modified_s(path: str) -> float | None:
    """Return when a file was written, by the clock of where it is.

    Returns:
        Seconds since 1970; None if there is no such file, or a filesystem does not tell.
    """
    found: float | None = _place(path).modified_s(path)
    return found


def delete(path: str) -> None:
    """Delete a file; what does not exist is no error. No folder is deleted with its content."""
    _place(path).delete(path)


def rename(source: str, target: str) -> None:
    """Move a file, over one that is there."""
    _place(target).rename(source, target)


def list_files(folder: str) -> list[str]:
    """List the files right below a folder; a folder that does not exist is empty."""
    try:
        if not is_local(folder):
            return [file.path for file in match(join(literal(folder), "*"))]
        return [str(path) for path in _place(folder).list_files(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def list_tree(folder: str) -> list[Entry]:
    """List all but folders below a folder, at any depth; links are listed, and not followed.

    A folder that does not exist is empty; one that is a link is listed as itself.
    """
    if is_local(folder):
        return list(_place(folder).list_tree(folder))
    with suppress(FileNotFoundError):
        found = match(join(literal(folder), "**"))
        return [Entry(file.path, file.size_bytes, True) for file in found]
    return []


def delete_files(paths: Sequence[str], folder: str) -> None:
    """Delete files below a folder, and then the folder and those in it that hold nothing more."""
    _place(folder).delete_files(paths, folder)


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
    found: list[ListedFile] = _place(pattern).match(pattern, limit)
    return found
