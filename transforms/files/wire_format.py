"""Protocol buffers read where they lie, by field number, without their classes: `Message`.

What a model may do is told before an engine is imported, from a few fields of a file that can have
2 GB of constants. Those are stepped over, so that memory goes with the number of fields asked for.
The encoding is https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}
"""How many bytes the types of fields have whose length is fixed."""

_MAX_BITS = 70
"""Of a number of variable length: ten bytes."""


class DamagedError(ValueError):
    """Bytes that are no protocol buffer."""


@dataclass(slots=True)
class Message:
    """A message, or a string, in a file: the bytes from `start` to `end` of `data`."""

    data: bytes | mmap.mmap
    start: int
    end: int

    def __iter__(self) -> Iterator[tuple[int, Message]]:
        """Yield the number and the content of each string, bytes or message in it, in order.

        Raises:
            DamagedError: where these bytes are no message.
        """
        data, at, end = self.data, self.start, self.end
        while at < end:
            tag, at = _read_varint(data, at, end)
            kind, size = tag & 7, 0
            if kind == _BYTES:
                size, at = _read_varint(data, at, end)
            elif kind == _VARINT:
                at = _read_varint(data, at, end)[1]
            elif kind in _FIXED:
                size = _FIXED[kind]
            else:  # Groups have left the language; no writer of models has them.
                raise DamagedError(f"byte {at:,} starts a field of type {kind}")
            if at + size > end:
                raise DamagedError(f"the field at byte {at:,} ends after what it is in")
            if kind == _BYTES:
                yield tag >> 3, Message(data, at, at + size)
            at += size

    def find(self, *path: int) -> Iterator[Message]:
        """Yield what is at a path of field numbers, each of which may be repeated.

        A field that is given twice though it is not repeated is one message to a parser, which
        merges them; here both are found.

        >>> [found.text() for found in Message(bytes.fromhex("0a030a0161" "0a030a0162"), 0, 10)
        ...     .find(1, 1)]
        ['a', 'b']
        """
        for number, value in self:
            if number == path[0]:
                if len(path) == 1:
                    yield value
                else:
                    yield from value.find(*path[1:])

    def read(self, number: int) -> str:
        """Return a string field; the last counts, as for a parser; empty if there is none."""
        text = ""
        for value in self.find(number):
            text = value.text()
        return text

    def text(self) -> str:
        """Return these bytes as text; what is no UTF-8 becomes escapes."""
        return self.data[self.start : self.end].decode(errors="backslashreplace")


@contextmanager
def open_message(path: str) -> Iterator[Message]:
    """Open a file that is one message.

    Raises:
        OSError: if it cannot be read.
    """
    with open(path, "rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # An empty file cannot be mapped; it is an empty message.
            yield Message(b"", 0, 0)
            return
        with data:
            yield Message(data, 0, len(data))


def _read_varint(data: bytes | mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """Return a number of variable length, and where it ends."""
    if at < end and data[at] < 0x80:
        return data[at], at + 1
    number = 0
    for bits in range(0, min(_MAX_BITS, 7 * (end - at)), 7):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << bits
        if byte < 0x80:
            return number, at
    raise DamagedError(f"no number ends before byte {at:,}")
