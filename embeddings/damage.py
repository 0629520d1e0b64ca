"""Files that are not what was written: damage is one error that names the file.

A damaged or made-up Parquet file makes pyarrow raise whatever it stumbles over, and may claim more
rows than memory holds. Both end here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from beamvec.embeddings.run_record import FileRecord
from beamvec.errors import DatasetError

_BLOCK_BYTES = 1 << 20

_MOST_COMPRESSION = 256
"""LZ4 makes no more than 255 bytes of one."""


@contextmanager
def naming_damage(path: str) -> Iterator[None]:
    """Turn what reading a damaged file raises into a `DatasetError` that names the file."""
    try:
        yield
    except DatasetError:
        raise
    # Of damaged bytes pyarrow raises errors of its own, KeyError, UnicodeDecodeError, MemoryError,
    # OverflowError and others: no list of them has been complete.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"{path} is damaged or cannot be read: {reason}") from error


def require_room(path: str, row_counts: list[int], row_bytes: int, size_bytes: int) -> None:
    """Raise if a file's footer tells of more rows than the file can hold.

    Args:
        path: names the file.
        row_counts: rows of each row group, as the footer tells.
        row_bytes: what a row takes at least, before compression.
        size_bytes: the size of the file.
    """
    rows = sum(row_counts)
    if min(row_counts, default=0) < 0 or rows * row_bytes > _MOST_COMPRESSION * size_bytes:
        raise DatasetError(
            f"{path} is damaged: its footer tells of {rows:,} rows, which {size_bytes:,} bytes "
            "cannot hold"
        )


def measure(file: Any) -> FileRecord:
    """Return the size and the SHA-256 of what a file that was opened for reading holds.

    >>> import io
    >>> measure(io.BytesIO(b"")).sha256[:8]
    'e3b0c442'
    """
    digest, size_bytes = hashlib.sha256(), 0
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
        size_bytes += len(block)
    return FileRecord(size_bytes, digest.hexdigest())


def require_unchanged(file: Any, path: str, written: FileRecord) -> None:
    """Read a file to its end, and raise if its content is not what was written.

    Args:
        file: the file, opened for reading.
        path: names it.
        written: what the record of the dataset tells of it; without a SHA-256 only its size counts.
    """
    found = measure(file)
    if found.size_bytes != written.size_bytes:
        raise DatasetError(
            f"{path} has changed since it was written: it has {found.size_bytes:,} bytes, not "
            f"{written.size_bytes:,}"
        )
    if written.sha256 and found.sha256 != written.sha256:
        raise DatasetError(
            f"{path} has changed since it was written: its SHA-256 is {found.sha256[:12]}..., not "
            f"{written.sha256[:12]}..."
        )
