"""Small image files written byte by byte, in layouts that Pillow itself does not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

CODES = {3: "H", 4: "I"}


def make_tiff(
    strips: Sequence[bytes], width: int, height: int, tags: dict[int, list[int]], order: str = "<"
) -> bytes:
    """Return a TIFF file of some strips (of a plane each, if there are several).

    Args:
        strips: as they are stored, but compressed here if the tag Compression (259) is 8, deflate.
        width: in pixels.
        height: likewise.
        tags: numbers by tag, all of type SHORT, beside those of size and strips.
        order: `<` or `>`.
    """
    if tags.get(259) == [8]:
        strips = [zlib.compress(strip) for strip in strips]
    entries = {tag: (3, values) for tag, values in tags.items()}
    entries |= {256: (4, [width]), 257: (4, [height]), 278: (4, [height])}
    entries[279] = (4, [len(strip) for strip in strips])
    start = 8 + 2 + 12 * (len(entries) + 1) + 4
    blob = b"".join(strips)
    starts = np.cumsum([0, *map(len, strips)])[:-1] + start
    entries[273] = (4, starts.tolist())
    ifd = b""
    for tag, (type_, values) in sorted(entries.items()):
        value = struct.pack(f"{order}{len(values)}{CODES[type_]}", *values)
        if len(value) > 4:
            blob, value = blob + value, struct.pack(f"{order}I", start + len(blob))
        ifd += struct.pack(f"{order}HHI", tag, type_, len(values)) + value.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}IH", 8, len(entries))
    return head + ifd + bytes(4) + blob


def pack_bits(values: np.ndarray, bits: int) -> bytes:
    """Pack rows of samples of some bits, the first ones highest, each row to whole bytes."""
    shifts = np.arange(bits - 1, -1, -1)
    rows = (values[..., None] >> shifts & 1).reshape(len(values), -1).astype(np.uint8)
    return np.packbits(rows, axis=1).tobytes()


def make_chunk(type_: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    checksum = zlib.crc32(type_ + body).to_bytes(4, "big")
    return len(body).to_bytes(4, "big") + type_ + body + checksum


def make_png(
    values: np.ndarray, bits: int, color: int, before: Sequence[bytes] = (), after: bytes = b""
) -> bytes:
    """Return a PNG file of samples [height, width, channels] of some bits.

    Args:
        values: the samples.
        bits: of each.
        color: the colour type, such as 0 for grey, 2 for RGB, 3 for a palette.
        before: whole chunks before the pixels.
        after: bytes behind them, instead of the chunk that ends the file.
    """
    height, width = values.shape[:2]
    rows = [b"\0" + pack_bits(row.reshape(1, -1), bits) for row in values]
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            make_chunk(b"IHDR", header),
            *before,
            make_chunk(b"IDAT", zlib.compress(b"".join(rows))),
            after or make_chunk(b"IEND", b""),
        )
    )


def make_bmp(
    lines: bytes,
    width: int,
    height: int,
    bits: int,
    compression: int,
    masks: bytes = b"",
    palette: bytes = b"",
) -> bytes:
    """Return a BMP file with a header of 40 bytes, and one of 108 if there are four masks."""
    size = 108 if len(masks) == 16 else 40
    header = struct.pack(
        "<IiiHHIIiiII",
        size,
        width,
        height,
        1,
        bits,
        compression,
        len(lines),
        2835,
        2835,
        len(palette) // 4,
        0,
    )
    header += masks.ljust(size - 40, b"\0") if size == 108 else masks
    offset = 14 + len(header) + len(palette)
    return (
        b"BM" + struct.pack("<IHHI", offset + len(lines), 0, 0, offset) + header + palette + lines
    )
