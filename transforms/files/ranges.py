"""Reading parts of a large file in few long reads: `open_file`, `read_ranges`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, NamedTuple, cast

from beamvec.transforms.files import retrying, storage

BLOCK_BYTES = 8 << 20
"""What one read asks for at most, unless a range is larger."""

GAP_BYTES = 1 << 20
"""What is rather read and thrown away than skipped: about what a request to a store costs."""


_LOCAL_BUFFER_BYTES = 1 << 16


class Range(NamedTuple):
    """Some bytes of a file."""

    start: int
    size: int

    @property
    def end(self) -> int:
        """Where they end."""
        return self.start + self.size


class RangedFile(io.RawIOBase):
    """A file whose reads give all that they ask for, up to its end, trying again what may pass."""

    def __init__(self, file: io.RawIOBase, is_local: bool = True):
        self.is_local = is_local
        self._file = file
        self._at = 0
        self.size_bytes = file.seek(0, io.SEEK_END)

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read anywhere."""
        return True

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go somewhere; behind the end there is nothing to read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size_bytes}[whence]
        if start + offset < 0:
            raise ValueError(f"byte {start + offset} is before the file")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer, as far as there is something."""
        view = memoryview(buffer)
        wanted = max(0, min(len(view), self.size_bytes - self._at))
        done = 0
        while done < wanted:
            read = partial(self._read_some, self._at + done, view[done:wanted])
            size = retrying.call(read)
            if size == 0:
                break
            done += size
        self._at += done
        return done

    def _read_some(self, at: int, into: memoryview) -> int:
        self._file.seek(at)
        return self._file.readinto(into) or 0


@contextmanager
def buffered(file: RangedFile) -> Iterator[BinaryIO]:
    """Read a file in larger parts than are asked for, for whoever goes through all of it.

    Of one on another machine these are blocks, so that it is read from end to end: that costs less
    than a request for each thing in it. What is skipped of a local one is not read.
    """
    size = _LOCAL_BUFFER_BYTES if file.is_local else BLOCK_BYTES
    reader = io.BufferedReader(file, size)
    try:
        yield cast(BinaryIO, reader)
    finally:
        reader.detach()


@contextmanager
def open_file(uri: str) -> Iterator[RangedFile]:
    """Open a file, as it is stored, for reads of just the bytes that are asked for.

    Raises:
        OSError: if it cannot be read.
    """
    with storage.open_ranged(uri) as file:
        yield RangedFile(file, storage.is_local(uri))


def read_ranges(file: RangedFile, ranges: Sequence[Range]) -> Iterator[tuple[int, bytes | OSError]]:
    """Read parts of a file in the order in which they lie; neighbours in one read.

    Args:
        file: where they are.
        ranges: the parts, in any order.

    Yields:
        A part's place in `ranges`, and its bytes: fewer than asked for where the file ends before,
        or why the read that it was in has failed.
    """
    order = sorted(range(len(ranges)), key=ranges.__getitem__)
    for block in _gather(order, ranges):
        start = ranges[block[0]].start
        end = max(ranges[i].end for i in block)
        try:
            file.seek(start)
            data = file.read(end - start) or b""
        except OSError as error:
            yield from ((i, error) for i in block)
            continue
        for i in block:
            at = ranges[i].start - start
            yield i, data[at : at + ranges[i].size]


def _gather(order: Sequence[int], ranges: Sequence[Range]) -> Iterator[list[int]]:
    """Part ranges, sorted by their start, into those that one read is for."""
    block: list[int] = []
    start = end = 0
    for i in order:
        each = ranges[i]
        fits = each.start - end <= GAP_BYTES and each.end - start <= BLOCK_BYTES
        if block and not fits:
            yield block
            block = []
        if not block:
            start, end = each.start, each.start
        block.append(i)
        end = max(end, each.end)
    if block:
        yield block
