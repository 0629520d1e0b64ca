"""Files that are too large to be read: the limit, importable without Pillow, and its error."""

from __future__ import annotations

DEFAULT_MAX_FILE_SIZE = 512 << 20
"""Bytes; the largest images that Pillow decodes, of `MAX_PIXELS` in RGB, take as much raw."""

FILE_TOO_LARGE = "FileTooLarge"


class FileTooLargeError(OSError):
    """A file has more bytes than are read; the message says how many, as far as it is known.

    Attributes:
        size_bytes: how many it has, None if nobody has looked.
    """

    def __init__(self, size_bytes: int | None, limit: int):
        found = "" if size_bytes is None else f"{size_bytes:,} bytes, "
        super().__init__(f"{found}more than the {limit:,} bytes of --max-file-size")
        self.size_bytes = size_bytes
