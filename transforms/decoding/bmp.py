"""BMP files that Pillow does not read or gets wrong: with masks, and with runs of 4 bits."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

_BITFIELDS, _ALPHABITFIELDS = 3, 6
_RLE8, _RLE4 = 1, 2
_END, _STEP, _LITERAL = 1, 2, 3
_HEADER_SIZES = (40, 52, 56, 108, 124)
_BLOCK_PIXELS = 1 << 20


class _Header(NamedTuple):
    """The fields of a BMP file that count here.

    See BITMAPV4HEADER, https://learn.microsoft.com/windows/win32/api/wingdi/ns-wingdi-bitmapv4header.
    """

    offset: int
    width: int
    height: int
    bits: int
    masks: tuple[int, ...]


def has_masks(data: bytes) -> bool:
    """Tell whether a file is a BMP with masks."""
    if data[:2] != b"BM" or len(data) < 70:
        return False
    size, _, _, _, bits, compression = struct.unpack_from("<IiiHHI", data, 14)
    has_fields = compression in (_BITFIELDS, _ALPHABITFIELDS)
    return has_fields and size in _HEADER_SIZES and bits in (16, 32)


def rewrite_rle4(data: bytes) -> bytes:
    """Return a BMP of RLE4 as one of RLE8, of the same pixels; other files as they are.

    Pillow loses its way in RLE4 behind literal runs of an odd length. See
    https://learn.microsoft.com/windows/win32/gdi/bitmap-compression.
    """
    if data[:2] != b"BM" or len(data) < 54:
        return data
    (offset, size), (compression,) = (
        struct.unpack_from("<II", data, 10),
        struct.unpack_from("<I", data, 30),
    )
    if size not in _HEADER_SIZES or compression != _RLE4:
        return data
    head = data[:30] + struct.pack("<I", _RLE8) + data[34:offset]
    return head + b"".join(_unpack_rle4(data, offset))


def _unpack_rle4(data: bytes, at: int) -> Iterator[bytes]:
    while at + 2 <= len(data):
        count, value = data[at : at + 2]
        at += 2
        if count:  # A run, of two values in turn.
            pair = bytes((1, value >> 4, 1, value & 15))
            yield (pair * (-(-count // 2)))[: 2 * count]
        elif value >= _LITERAL:
            length = -(-value // 2)
            nibbles = (
                nibble for byte in data[at : at + length] for nibble in (byte >> 4, byte & 15)
            )
            yield b"".join(bytes((1, nibble)) for nibble in islice(nibbles, value))
            at += length + length % 2
        else:  # The end of a line or of the picture, or a step.
            step = data[at : at + 2] if value == _STEP else b""
            yield bytes((0, value)) + step
            at += len(step)
            if value == _END:
                return


class MaskedBmp(ImageFile.ImageFile):
    """A BMP with masks, which Pillow reads only in some orders; RGBA if one is for alpha."""

    format = "BMP"
    format_description = "Windows Bitmap"

    def _open(self) -> None:
        assert self.fp is not None
        self._data = self.fp.read()
        self._header = _read_header(self._data)
        self._size = self._header.width, abs(self._header.height)
        self._mode = "RGBA" if self._header.masks[3] else "RGB"

    def load(self) -> Any:
        """Decode the pixels, once, in bands."""
        if self._data:
            self.im = Image.new(self.mode, self.size).im
            self._fill()
            self._data = b""
        return Image.Image.load(self)

    def _fill(self) -> None:
        header = self._header
        stride = (header.width * header.bits + 31) // 32 * 4
        rows = abs(header.height)
        if len(self._data) < header.offset + stride * rows:
            raise OSError("image file is truncated")
        lines = np.frombuffer(self._data, np.uint8, stride * rows, header.offset).reshape(
            rows, stride
        )
        lines = lines[::-1] if header.height > 0 else lines
        step = max(1, _BLOCK_PIXELS // header.width)
        for top in range(0, rows, step):
            band = np.ascontiguousarray(lines[top : top + step]).view(f"<u{header.bits // 8}")
            masks = header.masks[: len(self.getbands())]
            samples = [_scale(band[:, : header.width], mask) for mask in masks]
            box = (0, top, header.width, top + len(band))
            self.im.paste(Image.fromarray(np.stack(samples, axis=-1), self.mode).im, box)


def _read_header(data: bytes) -> _Header:
    (offset,) = struct.unpack_from("<I", data, 10)
    size, width, height, _, bits, compression = struct.unpack_from("<IiiHHI", data, 14)
    # Behind a header of 40 bytes the masks follow it; larger ones contain them, at the same place.
    has_alpha = compression == _ALPHABITFIELDS or size >= 56
    masks = struct.unpack_from("<4I", data, 54)
    if width <= 0 or height == 0:
        raise OSError(f"a BMP of {width} x {height} pixels")
    return _Header(offset, width, height, bits, masks if has_alpha else (*masks[:3], 0))


def _scale(values: npt.NDArray[np.generic], mask: int) -> npt.NDArray[np.uint8]:
    """Return the samples under a mask, scaled to 0..255."""
    if not mask:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    top = mask >> shift
    samples = (values.astype(np.uint64) & mask) >> shift
    return ((samples * 255 + top // 2) // top).astype(np.uint8)
