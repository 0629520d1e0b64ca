"""The objects of a store as files: `ObjectFiles`."""

from __future__ import annotations

import io
import re
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from errno import ENOTSUP
from typing import BinaryIO, cast

from beamvec.transforms.files import retrying
from beamvec.transforms.files.errors import ConflictError, StoreError, conflict
from beamvec.transforms.files.globs import compile_glob
from beamvec.transforms.files.object_store import (
    ABSENT,
    PART_BYTES,
    Block,
    ObjectStore,
    Upload,
    split_uri,
)
from beamvec.transforms.files.storage import ListedFile

BLOCK_BYTES = 8 << 20
"""What a reader asks for at least."""

_DELETERS = 16
_ABORT_S = 10.0
_QUOTED = re.compile(r"\[([*?\[])\]")  # As `storage.literal` does it.
_LITERAL = re.compile(rf"(?:[^*?\[]|{_QUOTED.pattern})*")


class ObjectFiles:
    """The objects of a store, as `storage` offers files."""

    def __init__(self, store: ObjectStore):
        self._store = store
        self._conditions: dict[str, bool] = {}
        self._turn = threading.Lock()

    def read(self, uri: str, limit_bytes: int | None = None) -> bytes:
        """Read an object."""
        return self._store.read(uri, 0, limit_bytes).data

    @contextmanager
    def open_file(self, uri: str) -> Iterator[BinaryIO]:
        """Open an object for reading anywhere in it."""
        first = self._store.read(uri, 0, BLOCK_BYTES)
        buffer_bytes = max(1, min(first.total, BLOCK_BYTES))
        with io.BufferedReader(_Reader(self._store, uri, first), buffer_bytes) as file:
            yield cast(BinaryIO, file)

    @contextmanager
    def open_ranged(self, uri: str) -> Iterator[io.RawIOBase]:
        """Open an object for reads that are a request each."""
        # A byte tells size and version; of an empty object the store gives what there is.
        with _Reader(self._store, uri, self._store.read(uri, 0, 1)) as file:
            yield file

    @contextmanager
    def create(self, uri: str) -> Iterator[BinaryIO]:
        """Open an object for writing; it appears at the end of the block."""
        writer = _Writer(self._store, uri)
        try:
            yield cast(BinaryIO, writer)
            writer.finish()
        except BaseException:
            writer.abort()
            raise

    def exists(self, uri: str) -> bool:
        """Tell whether an object exists."""
        return self._store.look_up(uri) is not None

    def modified_s(self, uri: str) -> float | None:
        """Return when an object was written, by the store's own clock."""
        found = self._store.look_up(uri)
        return found.modified_s if found else None

    def delete(self, uri: str) -> None:
        """Delete an object; what does not exist is no error."""
        self._store.delete(uri)

    def delete_files(self, uris: Sequence[str], _: str) -> None:
        """Delete many objects."""
        with ThreadPoolExecutor(_DELETERS, "deletes") as threads:
            list(threads.map(self._store.delete, uris))

    def rename(self, source: str, target: str) -> None:
        """Move an object, over one that is there."""
        self._store.copy(source, target)
        self._store.delete(source)

    def match(self, pattern: str, limit: int | None) -> list[ListedFile]:
        """List the objects that a pattern names, see `storage.match`."""
        start = _LITERAL.match(pattern)
        assert start is not None
        prefix = _QUOTED.sub(r"\1", start[0])
        if start[0] == pattern:
            found = self._store.look_up(prefix)
            return [ListedFile(prefix, found.size_bytes, found.modified_s)] if found else []
        is_match = compile_glob(pattern).fullmatch
        matches: list[ListedFile] = []
        for file in self._store.list(prefix):
            if limit is not None and len(matches) >= limit:
                break
            if is_match(file.path) and not file.path.endswith("/"):
                matches.append(file)
        return matches

    def read_versioned(self, uri: str, limit_bytes: int | None) -> tuple[bytes, str] | None:
        """Read an object and its version."""
        try:
            block = self._store.read(uri, 0, limit_bytes)
        except FileNotFoundError:
            return None
        return block.data, block.version

    def write_if(self, uri: str, content: bytes, version: str | None) -> str:
        """Write an object if it has that version, see `storage.write_if`."""
        if self._conditions.get(split_uri(uri)[0]) is False:
            self._check(uri, version)
            return self._store.write(uri, content)
        with retrying.counted() as retries:
            try:
                return self._store.write(uri, content, ABSENT if version is None else version)
            except ConflictError:
                # The answer to the first try may have been lost, not the write.
                found = self.read_versioned(uri, None) if retries() else None
                if found is None or found[0] != content:
                    raise
                return found[1]

    def delete_if(self, uri: str, version: str) -> None:
        """Delete an object if it has that version."""
        if self._conditions.get(split_uri(uri)[0]) is False and self.exists(uri):
            self._check(uri, version)
        self._store.delete(uri, version)

    def _check(self, uri: str, version: str | None) -> None:
        found = self._store.look_up(uri)
        if (found.version if found else None) != version:
            raise conflict(uri)

    def has_conditions(self, uri: str) -> bool:
        """Tell whether the store obeys conditions; it is asked once a bucket, with a file beside.

        Raises:
            OSError: if that cannot be written.
        """
        bucket = split_uri(uri)[0]
        with self._turn:
            if bucket not in self._conditions:
                probe = f"{uri}.{uuid.uuid4().hex}.tmp"
                try:
                    self._conditions[bucket] = self._is_obeyed(probe)
                finally:
                    with suppress(OSError):  # Not everybody who may write may delete.
                        self._store.delete(probe)
            return self._conditions[bucket]

    def _is_obeyed(self, probe: str) -> bool:
        """Write an object that is not there, and then do what the store must refuse."""
        try:
            first = self._store.write(probe, b"1")
            if self._takes(probe, ABSENT):
                return False
            self._store.write(probe, b"2", first)
            return not self._takes(probe, first)
        except ConflictError:
            return True  # The answer to what was obeyed was lost.
        except StoreError as error:
            if error.errno != ENOTSUP:
                raise
            return False

    def _takes(self, uri: str, version: str) -> bool:
        try:
            self._store.write(uri, b"3", version)
        except ConflictError:
            return False
        return True


class _Reader(io.RawIOBase):
    """An object, read in ranges of the one version that was opened."""

    mode = "rb"  # Beam's decompression asks for it.

    def __init__(self, store: ObjectStore, uri: str, first: Block):
        self._store, self._uri, self._first = store, uri, first
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._first.total}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        size = min(len(buffer), max(0, self._first.total - self._at))
        if size == 0:
            return 0
        data = self._first.data[self._at : self._at + size]
        if not data:
            try:
                data = self._store.read(self._uri, self._at, size, self._first.version).data
            except (ConflictError, FileNotFoundError) as error:
                raise StoreError(error.errno, "Changed while it was read", self._uri) from error
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Writer(io.RawIOBase):
    """An object that is being written, in one request or, if it is large, in parts."""

    def __init__(self, store: ObjectStore, uri: str):
        self._store, self._uri = store, uri
        self._upload: Upload | None = None
        self._held = bytearray()
        self._sent = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._sent + len(self._held)

    def write(self, data: bytes) -> int:  # type: ignore[override]
        size = memoryview(data).nbytes
        self._held += data
        while len(self._held) > PART_BYTES:
            self._upload = self._upload or self._store.begin(self._uri)
            self._upload.send(bytes(self._held[:PART_BYTES]))
            del self._held[:PART_BYTES]
            self._sent += PART_BYTES
        return size

    def finish(self) -> None:
        if self._upload:
            self._upload.finish(bytes(self._held))
        else:
            self._store.write(self._uri, bytes(self._held))

    def abort(self) -> None:
        if self._upload:
            with retrying.limited(_ABORT_S):
                self._upload.abort()
