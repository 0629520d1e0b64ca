"""Where a decoder is in its work: `Mark`, which its parent reads when it has died or hangs."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from typing import NamedTuple

_PLACE = struct.Struct("<qd")


class WorkPlace(NamedTuple):
    """A file that a decoder is busy with.

    Attributes:
        number: its place in the request, from 0.
        since_s: when it was begun, by the clock that all processes of the machine share.
    """

    number: int
    since_s: float


class Mark:
    """Some bytes of memory that a decoder writes and its parent reads.

    Messages would tell the same, but cost a tenth of what tiny images take.

    Args:
        descriptor: of the file that both map, which this one does not close.
    """

    def __init__(self, descriptor: int):
        self._memory = mmap.mmap(descriptor, _PLACE.size)

    def set(self, index: int) -> None:
        """Say that a file is begun now."""
        self._memory[:] = _PLACE.pack(index, time.monotonic())

    def get(self) -> WorkPlace:
        """Return the file that was begun last."""
        return WorkPlace(*_PLACE.unpack(self._memory[:]))


def create_mark_file() -> int:
    """Return the descriptor of a file without a name, for a `Mark` in each of two processes.

    Raises:
        OSError: if there is no memory, or no descriptor.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("beamvec-decoder")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _PLACE.size)
    return descriptor
