"""Files of Beam's other filesystems, such as HDFS, with errors like those of local files.

These filesystems know neither conditions nor versions, and tell of errors as each likes.
"""

from __future__ import annotations

import errno
import hashlib
import io
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, TypeVar, cast

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from beamvec.transforms.files import retrying, storage
from beamvec.transforms.files.errors import StoreError, conflict, error_of_status
from beamvec.transforms.files.globs import IS_GLOB, compile_glob
from beamvec.transforms.files.local import read_and_hash
from beamvec.transforms.files.storage import ListedFile

_BUFFER_BYTES = 1 << 20
_T = TypeVar("_T")


@contextmanager
def os_errors(uri: str) -> Iterator[None]:
    """Turn what a filesystem raises in the block into an `OSError` that names the URI.

    >>> with os_errors("hdfs://host/key"):
    ...     raise BeamIOError("Rename operation failed", {("a", "b"): 404})
    Traceback (most recent call last):
    ...
    FileNotFoundError: [Errno 2] No such object or bucket: 'hdfs://host/key'
    """
    try:
        yield
    except Exception as error:
        raised = _to_os_error(error, uri)
        if raised is error:
            raise
        raise raised from error


def _to_os_error(error: Any, uri: str) -> Exception:
    while isinstance(error, BeamIOError) and error.exception_details:
        error = next(iter(error.exception_details.values()))
    if isinstance(error, OSError):
        return error
    if isinstance(error, ValueError):  # A name that the filesystem cannot parse.
        return OSError(errno.EINVAL, str(error), uri)
    code = error if isinstance(error, int) else getattr(error, "code", None)
    if code in (401, 403, 404):
        return error_of_status(code, "" if isinstance(error, int) else _message(error), uri)
    return StoreError(errno.EIO, _message(error), uri)


def _message(error: Any) -> str:
    if isinstance(error, int):
        return f"the store answered {error}"
    text = getattr(error, "message", None) or next(iter(getattr(error, "args", ())), error)
    return " ".join(str(text).split()) or type(error).__name__


def _call(uri: str, function: Callable[..., _T], *args: Any, **options: Any) -> _T:
    with os_errors(uri):
        return function(*args, **options)


def name_errors(uri: str, file: Any) -> io.RawIOBase:
    """Return a file whose errors are those of local files, and name it."""
    return _NamedFile(uri, file)


class _NamedFile(io.RawIOBase):
    mode = "rb"  # Beam's decompression asks for it.

    def __init__(self, uri: str, file: Any):
        self._uri, self._file = uri, file

    def readable(self) -> bool:
        return hasattr(self._file, "read")

    def writable(self) -> bool:
        return hasattr(self._file, "write")

    def seekable(self) -> bool:
        return hasattr(self._file, "seek")

    def readall(self) -> bytes:
        return bytes(_call(self._uri, self._file.read))

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = _call(self._uri, self._file.read, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        _call(self._uri, self._file.write, data)
        return size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        _call(self._uri, self._file.seek, offset, whence)
        return self.tell()

    def tell(self) -> int:
        return int(_call(self._uri, self._file.tell))

    def close(self) -> None:
        if not self.closed:
            super().close()
            _call(self._uri, self._file.close)


def _open(uri: str) -> Any:
    return _call(uri, FileSystems.open, uri, compression_type=CompressionTypes.UNCOMPRESSED)


def read(uri: str, limit_bytes: int | None = None) -> bytes:
    """Read a file."""

    def read_once() -> bytes:
        with os_errors(uri), _open(uri) as file:
            return bytes(file.read(-1 if limit_bytes is None else limit_bytes))

    return retrying.call(read_once)


@contextmanager
def open_file(uri: str) -> Iterator[BinaryIO]:
    """Open a file for reading."""
    with io.BufferedReader(_NamedFile(uri, _open(uri)), _BUFFER_BYTES) as file:
        yield cast(BinaryIO, file)


@contextmanager
def open_ranged(uri: str) -> Iterator[io.RawIOBase]:
    """Open a file for unbuffered reads."""
    with _NamedFile(uri, retrying.call(lambda: _open(uri))) as file:
        yield file


@contextmanager
def create(uri: str) -> Iterator[BinaryIO]:
    """Open a file for writing under a temporary name, and rename it at the end of the block."""
    temporary = f"{uri}.{uuid.uuid4().hex}.tmp"
    options = {"compression_type": CompressionTypes.UNCOMPRESSED}
    try:
        with _NamedFile(uri, _call(uri, FileSystems.create, temporary, **options)) as file:
            yield cast(BinaryIO, file)
        rename(temporary, uri)
    except BaseException:
        with suppress(OSError):  # The first error tells more.
            delete(temporary)
        raise


def exists(uri: str) -> bool:
    """Tell whether a file exists."""
    return bool(_call(uri, FileSystems.exists, uri))


def modified_s(uri: str) -> float | None:
    """Return when a file was written, by the filesystem's own clock, None if it does not tell."""
    found = match(storage.literal(uri), 1)
    return found[0].modified_s if found else None


def delete(uri: str) -> None:
    """Delete a file; what does not exist is no error."""
    delete_files([uri], "")


def delete_files(uris: Sequence[str], _: str) -> None:
    """Delete some files."""
    found = [uri for uri in uris if exists(uri)]
    if found:
        _call(found[0], FileSystems.delete, found)


def rename(source: str, target: str) -> None:
    """Move a file, over one that is there; its folder is made if it is missing."""
    folder = target.rpartition("/")[0]
    if not exists(folder):
        with suppress(OSError):  # Another thread makes it; what else is wrong, moving tells.
            _call(folder, FileSystems.mkdirs, folder)
    _call(target, FileSystems.rename, [source], [target])


def match(pattern: str, limit: int | None) -> list[ListedFile]:
    """List the files that a pattern names, see `storage.match`."""
    start = IS_GLOB.search(pattern)
    # What Beam's own patterns match is not quite what ours do; it lists the same for any of them.
    wide = f"{pattern[: start.start()]}**" if start else pattern
    found = _call(pattern, FileSystems.match, [wide], [limit])[0].metadata_list
    is_match = compile_glob(pattern).fullmatch
    return [
        ListedFile(file.path, file.size_in_bytes, file.last_updated_in_seconds or None)
        for file in found
        if not file.path.endswith("/") and (start is None or is_match(file.path))
    ]


def read_versioned(uri: str, limit_bytes: int | None) -> tuple[bytes, str] | None:
    """Read a file and its version, which is the SHA-256 of its content."""

    def read_once() -> tuple[bytes, str]:
        with open_file(uri) as file:
            return read_and_hash(file, limit_bytes)

    try:
        return retrying.call(read_once)
    except FileNotFoundError:
        return None


def write_if(uri: str, content: bytes, version: str | None) -> str:
    """Check a file's version, then write it: another may do so in between."""
    _check(uri, version)
    with create(uri) as file:
        file.write(content)
    return _version(content)


def delete_if(uri: str, version: str) -> None:
    """Check a file's version, then delete it: another may write it in between."""
    if exists(uri):
        _check(uri, version)
        delete(uri)


def has_conditions(_: str) -> bool:
    """Tell that conditions are not obeyed."""
    return False


def _check(uri: str, version: str | None) -> None:
    found = read_versioned(uri, 0)
    if (found[1] if found else None) != version:
        raise conflict(uri)


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
