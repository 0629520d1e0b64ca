"""PNG files without what their pixels do not depend on."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from beamvec.transforms.decoding.unsupported import UnsupportedImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_CRITICAL = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
_END = b"\0\0\0\0IEND\xaeB`\x82"
_EXIF_TEXT = b"Raw profile type exif\0"
"""How ImageMagick writes an EXIF block, as text."""

_PIECE_BYTES = 1 << 16
_MAX_PROFILE_BYTES = 16 << 20
"""More than any colour profile takes; a compressed one could grow a thousandfold."""


class _Chunk(NamedTuple):
    """A chunk; see the PNG specification, https://www.w3.org/TR/png-3/#5Chunk-layout."""

    type: bytes
    start: int
    end: int
    is_whole: bool

    def body(self, data: bytes) -> bytes:
        """Return what it holds, as far as the file goes."""
        length = int.from_bytes(data[self.start : self.start + 4], "big")
        return data[self.start + 8 : min(self.start + 8 + length, len(data))]

    def write(self, data: bytes) -> bytes:
        """Return it whole, with a checksum that is right."""
        if self.is_whole:
            return data[self.start : self.end]
        body = self.body(data)
        checksum = zlib.crc32(self.type + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + self.type + body + checksum


def reduce_png(data: bytes) -> bytes:
    """Leave the chunks of a PNG out that do not count for its pixels, or lie behind them.

    So texts and profiles of any size are no burden, and damage behind the pixels does no harm.
    Where a chunk before them is damaged, the file comes back as it is, for its decoder to judge. Of
    an animation that picture stays which is for those who know no animations.

    Args:
        data: the file; if it is no PNG, it comes back as it is.

    Raises:
        UnsupportedImageError: for a PNG of Apple's own kind.
        OSError: if the compressed pixels are damaged.
    """
    if not data.startswith(SIGNATURE):
        return data
    if data[12:16] == b"CgBI":
        what = "a PNG of an iOS app (CgBI), whose pixels are stored in a way of their own"
        raise UnsupportedImageError(what, "`xcrun pngcrush -revert-iphone-optimizations` mends it")
    before, pixels, behind = _part(data)
    if not pixels or not all(map(_is_plain, before)):
        return data
    is_whole = behind and all(chunk.is_whole for chunk in pixels)
    if not is_whole and not _is_complete([chunk.body(data) for chunk in pixels]):
        if behind:
            raise OSError("the compressed pixels of this PNG are damaged: they end too early")
        return data  # Cut short: the decoder tells whether all pixels are there.
    kept = [chunk for chunk in before if chunk.type in _CRITICAL or _holds_exif(chunk, data)]
    kept += pixels
    kept += [chunk for chunk in behind if chunk.is_whole and _holds_exif(chunk, data)]
    pieces = [SIGNATURE, *(chunk.write(data) for chunk in kept), _END]
    # Most files have nothing to leave out, and need no copy.
    is_same = data.endswith(_END) and sum(map(len, pieces)) == len(data)
    return data if is_same else b"".join(pieces)


def read_png_profile(data: bytes) -> bytes | None:
    """Return the ICC profile of a PNG, None if it is none, or has none that is whole."""
    for chunk in _walk(data) if data.startswith(SIGNATURE) else ():
        if chunk.type == b"IDAT":
            break
        if chunk.type == b"iCCP" and chunk.is_whole:
            _name, _, rest = chunk.body(data).partition(b"\0")
            with contextlib.suppress(zlib.error):
                return zlib.decompressobj().decompress(rest[1:], _MAX_PROFILE_BYTES)
    return None


def _part(data: bytes) -> tuple[list[_Chunk], list[_Chunk], list[_Chunk]]:
    """Part the chunks before the pixels, those of the pixels, and those behind them."""
    chunks = list(_walk(data))
    is_pixels = [chunk.type == b"IDAT" for chunk in chunks]
    start = is_pixels.index(True) if True in is_pixels else len(chunks)
    end = next((i for i in range(start, len(chunks)) if not is_pixels[i]), len(chunks))
    return chunks[:start], chunks[start:end], chunks[end:]


def _is_plain(chunk: _Chunk) -> bool:
    """Tell whether a chunk before the pixels is whole, and can be left out if it is not known."""
    is_known = chunk.type in _CRITICAL or (chunk.type.isalpha() and chunk.type[:1].islower())
    return chunk.is_whole and is_known


def _holds_exif(chunk: _Chunk, data: bytes) -> bool:
    if chunk.type in (b"tEXt", b"zTXt"):
        return data.startswith(_EXIF_TEXT, chunk.start + 8)
    return chunk.type == b"eXIf"


def _walk(data: bytes) -> Iterator[_Chunk]:
    start = len(SIGNATURE)
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data):
            yield _Chunk(data[start + 4 : start + 8], start, len(data), False)
            return
        checksum = int.from_bytes(data[end - 4 : end], "big")
        is_whole = zlib.crc32(memoryview(data)[start + 4 : end - 4]) == checksum
        yield _Chunk(data[start + 4 : start + 8], start, end, is_whole)
        start = end


def _is_complete(pieces: list[bytes]) -> bool:
    """Tell whether the compressed pixels come to their end; raise `OSError` if they are damaged.

    A wrong checksum of a chunk does not tell whether that has reached them: zlib has its own.
    """
    stream = zlib.decompressobj()
    try:
        for piece in pieces:
            left = piece
            while left and not stream.eof:
                stream.decompress(left, _PIECE_BYTES)
                left = stream.unconsumed_tail
    except zlib.error as error:
        raise OSError(f"the compressed pixels of this PNG are damaged: {error}") from error
    return stream.eof
