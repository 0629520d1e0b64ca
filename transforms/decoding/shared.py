"""Memory that a decoder shares with its parent: its `Mark`, and the `PixelMemory` of its answers.

Nothing that a decoder writes there is trusted: a process that a hostile image has taken over can
write what it likes to its own share, and to nobody else's.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import tempfile
from typing import IO

import numpy as np
import numpy.typing as npt

_PLACE = struct.Struct("<q")
_PIXELS_FROM = mmap.ALLOCATIONGRANULARITY
_AFTER_STREAMS = 3


class Mark:
    """Where a decoder is in its work, which its parent reads when it has died or hangs.

    Messages would tell the same, but cost a tenth of what tiny images take.

    Args:
        descriptor: of the file that both map, which this one does not close.
    """

    def __init__(self, descriptor: int):
        self._memory = mmap.mmap(descriptor, _PLACE.size)

    def set(self, index: int) -> None:
        """Say that a file of the request is begun, by its place there from 0."""
        self._memory[:] = _PLACE.pack(index)

    def get(self) -> int:
        """Return the place of the file that was begun last."""
        (index,) = _PLACE.unpack(self._memory[:])
        return int(index)


class PixelMemory:
    """Where a decoder puts pixels, and its parent takes them: nobody has to send them.

    It grows to the largest request, and stays so.

    Args:
        descriptor: of the file that both map, which `close` closes.
    """

    def __init__(self, descriptor: int):
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        self._memory = np.empty(0, np.uint8)

    def view(self, count: int, size: int) -> npt.NDArray[np.uint8]:
        """Return room for some images, uint8 [count, size, size, 3], as the last request left it.

        Raises:
            OSError: if there is not so much memory.
        """
        length = count * size * size * 3
        if len(self._memory) < length:
            end = _PIXELS_FROM + length
            if os.fstat(self._file.fileno()).st_size < end:
                self._file.truncate(end)
            mapped = mmap.mmap(self._file.fileno(), length, offset=_PIXELS_FROM)
            self._memory = np.frombuffer(mapped, np.uint8)
        return self._memory[:length].reshape(count, size, size, 3)

    def close(self) -> None:
        """Let go of the file, and of the memory once nobody looks at it any more."""
        self._memory = np.empty(0, np.uint8)
        self._file.close()


def create_shared_file() -> int:
    """Return the descriptor of a file without a name, to be shared by two processes.

    Raises:
        OSError: if there is no memory, or no descriptor.
    """
    with _open_file() as file:
        file.truncate(_PLACE.size)
        return copy_for_child(file.fileno())


def _open_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        # Sandboxes refuse it, old kernels do not know it, and `vm.memfd_noexec` may forbid it.
        with contextlib.suppress(OSError):
            return _open_sealed_file()
    return tempfile.TemporaryFile()


def _open_sealed_file() -> IO[bytes]:
    descriptor = os.memfd_create("beamvec-decoder", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(os.close, descriptor)
        # A decoder that made it smaller would end its parent, by SIGBUS.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        on_failure.pop_all()
    return os.fdopen(descriptor, "r+b")


def copy_for_child(descriptor: int) -> int:
    """Return a copy of a descriptor whose number a child may take along.

    Where the caller has closed standard streams, new files get the numbers of those; but in a child
    they are its own streams.

    Raises:
        OSError: if there is no descriptor left.
    """
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _AFTER_STREAMS)
