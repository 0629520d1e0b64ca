"""Reading what a host sends: all of it or an error, and never more than is asked for."""

from __future__ import annotations

import errno
import math
import zlib
from collections.abc import Iterator
from typing import Any

from beamvec.transforms.files.errors import StoreError

_READ_BYTES = 1 << 18
_PACKED = ("gzip", "x-gzip", "deflate")


def read_body(response: Any, limit_bytes: int | None) -> bytes:
    """Read a body, or no more than its first bytes.

    A host is asked for no compression, but may use it: what comes is unpacked piece by piece, so
    that a bomb costs no more memory than the limit.

    Args:
        response: of urllib3, unread and undecoded.
        limit_bytes: how much to return at most.

    Raises:
        urllib3.exceptions.HTTPError: if it does not come whole.
        StoreError: if it cannot be unpacked.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        pieces = _read(response, limit_bytes)
    elif encoding in _PACKED:
        pieces = _unpack(_read(response, None), limit_bytes)
    else:
        raise StoreError(errno.EIO, f"it comes packed as {encoding[:40]!r}, unasked")
    return b"".join(pieces)


def _read(response: Any, limit_bytes: int | None) -> Iterator[bytes]:
    left = math.inf if limit_bytes is None else limit_bytes
    while left and (piece := response.read(int(min(left, _READ_BYTES)))):
        left -= len(piece)
        yield piece


def _unpack(pieces: Iterator[bytes], limit_bytes: int | None) -> Iterator[bytes]:
    left = math.inf if limit_bytes is None else limit_bytes
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # Finds out which of the formats it is.
    for piece in pieces:
        while piece and left and not stream.eof:
            try:
                unpacked = stream.decompress(piece, int(min(left, _READ_BYTES)))
            except zlib.error as error:
                raise StoreError(errno.EIO, "it is said to be compressed, but is not") from error
            left -= len(unpacked)
            yield unpacked
            piece = stream.unconsumed_tail
        if not left:
            return
    if not stream.eof:
        raise StoreError(errno.EIO, "what is compressed in it ends too early")
