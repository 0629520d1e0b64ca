"""Local files, as `storage` offers them: a path means the file of exactly that name."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO, cast

from beamvec.transforms.files import retrying
from beamvec.transforms.files.errors import conflict
from beamvec.transforms.files.storage import Entry


@contextmanager
def _no_value_errors(path: str) -> Iterator[None]:
    """Turn what Python raises for names that no file can have into an `OSError`."""
    try:
        yield
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), path) from error


def read(path: str, limit_bytes: int | None = None) -> bytes:
    """Read a file; opening a pipe would hang, so it must be a regular one."""
    return retrying.call(lambda: _read_once(path, limit_bytes))


def _read_once(path: str, limit_bytes: int | None) -> bytes:
    with _open_regular(path) as file:
        return file.read() if limit_bytes is None else read_first(file, limit_bytes)


def read_first(file: BinaryIO, limit_bytes: int) -> bytes:
    """Read no more than a file's first bytes, without taking memory for all that is allowed."""
    buffered = io.BufferedReader(cast(io.RawIOBase, file))  # Reads on where a read gives less.
    try:
        size_bytes = os.fstat(file.fileno()).st_size
        data = buffered.read(min(size_bytes + 1, limit_bytes))
        if size_bytes < len(data) < limit_bytes:  # It grows, or tells no size, as those of /proc.
            data += buffered.read(limit_bytes - len(data))
        return data
    finally:
        buffered.detach()


def _open_regular(path: str) -> BinaryIO:
    with _no_value_errors(path):
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "Not a regular file", path)
        return cast(BinaryIO, open(path, "rb", buffering=0))


@contextmanager
def open_file(path: str) -> Iterator[BinaryIO]:
    """Open a file for reading."""
    with _no_value_errors(path):
        file = open(path, "rb")  # noqa: SIM115 Closed below; what readers raise is theirs.
    with file:
        yield file


@contextmanager
def open_ranged(path: str) -> Iterator[io.RawIOBase]:
    """Open a regular file for unbuffered reads."""
    with retrying.call(lambda: _open_regular(path)) as file:
        yield cast(io.RawIOBase, file)


@contextmanager
def create(path: str) -> Iterator[BinaryIO]:
    """Open a file for writing under a temporary name, and rename it at the end of the block."""
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()  # Else a power cut could leave the name without the content.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # The first error tells more.
            delete(temporary)
        raise


def exists(path: str) -> bool:
    """Tell whether a file or folder exists."""
    return os.path.exists(path)


def modified_s(path: str) -> float | None:
    """Return when a file was written, None if there is none."""
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return None


def delete(path: str) -> None:
    """Delete a file; what does not exist is no error."""
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)


def rename(source: str, target: str) -> None:
    """Move a file, over one that is there."""
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    os.replace(source, target)


def flush_folder(path: str) -> None:
    """Have the kernel write a folder to its disk; one that is not there is none to write."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def list_files(folder: str) -> list[str]:
    """List the files right below a folder."""
    with os.scandir(folder) as entries:
        return [entry.path for entry in entries if entry.is_file()]


def list_tree(folder: str) -> list[Entry]:
    """List all but folders below a folder, at any depth; links are listed, and not followed."""
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
    """Delete files below a folder, and then the folders that hold nothing more."""
    for path in paths:
        delete(path)
    if os.path.isdir(folder) and not os.path.islink(folder):
        for at, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):  # Something is in it that was not to be deleted.
                os.rmdir(at)


def read_versioned(path: str, limit_bytes: int | None) -> tuple[bytes, str] | None:
    """Read a file and its version, which is the SHA-256 of its content."""

    def read_once() -> tuple[bytes, str]:
        with _open_regular(path) as file:
            return read_and_hash(file, limit_bytes)

    try:
        return retrying.call(read_once)
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_and_hash(file: BinaryIO, limit_bytes: int | None) -> tuple[bytes, str]:
    """Return a file's first bytes, and the SHA-256 of all of it."""
    first = file.read(-1 if limit_bytes is None else limit_bytes)
    digest = hashlib.sha256(first)
    while block := file.read(1 << 20):
        digest.update(block)
    return first, digest.hexdigest()


def write_if(path: str, content: bytes, version: str | None) -> str:
    """Check a file's version, then write it: callers hold the lock of the folder."""
    _check(path, version)
    with create(path) as file:
        file.write(content)
    return _version(content)


def delete_if(path: str, version: str) -> None:
    """Check a file's version, then delete it: callers hold the lock of the folder."""
    if exists(path):
        _check(path, version)
        delete(path)


def has_conditions(_: str) -> bool:
    """Tell that writes obey conditions, as they do where one holds the lock of the folder."""
    return True


def _check(path: str, version: str | None) -> None:
    found = read_versioned(path, 0)
    if (found[1] if found else None) != version:
        raise conflict(path)


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
