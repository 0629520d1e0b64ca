"""Files and images that are too large to be read, importable without Pillow."""

from __future__ import annotations

from typing import NamedTuple

DEFAULT_MAX_FILE_SIZE = 512 << 20
"""Bytes; the largest images that are decoded, of `MAX_PIXELS` in RGB, take as much raw."""

MAX_PIXELS = 178_956_970
"""Images of more pixels are refused as decompression bombs: Pillow's own default limit."""

FILE_TOO_LARGE = "FileTooLarge"


class Limits(NamedTuple):
    """What is not read or not decoded.

    Attributes:
        max_file_size: in bytes; a file that has more is not read.
        max_pixels: an image of more is not decoded.
    """

    max_file_size: int = DEFAULT_MAX_FILE_SIZE
    max_pixels: int = MAX_PIXELS


DEFAULT_LIMITS = Limits()


class FileTooLargeError(OSError):
    """A file has more bytes than are read; the message says how many, as far as it is known.

    Attributes:
        size_bytes: how many it has, None if nobody has looked.
    """

    def __init__(self, size_bytes: int | None, limit: int):
        found = "" if size_bytes is None else f"{size_bytes:,} bytes, "
        super().__init__(f"{found}more than the {limit:,} bytes of --max-file-size")
        self.size_bytes = size_bytes
