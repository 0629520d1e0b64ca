"""A file that is hashed while it is written: `Hashed`."""

from __future__ import annotations

import hashlib
from typing import BinaryIO


class Hashed:
    """What pyarrow writes to, and the SHA-256 of all that it wrote.

    Args:
        file: where it goes, open for writing; closing it is the business of whoever opened it.
    """

    closed = False

    def __init__(self, file: BinaryIO):
        self._file = file
        self._hash = hashlib.sha256()
        self._size_bytes = 0

    def write(self, data: bytes) -> int:
        """Write bytes, or anything that has them."""
        self._file.write(data)
        self._hash.update(data)
        self._size_bytes += len(data)
        return len(data)

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._size_bytes

    def flush(self) -> None:
        """Do nothing: the file is whole when it is closed."""

    def sha256(self) -> str:
        """Return the SHA-256 of what was written, in hex."""
        return self._hash.hexdigest()
