"""JPEG XL, whose plugin decodes a file as soon as it is opened."""

from __future__ import annotations

import re

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_BOX = re.compile(rb"jxlc\xff\x0a|jxlp\0\0\0\0\xff\x0a|jxlp\x80\0\0\0\xff\x0a")
"""Where the codestream of a container begins: in one box, or in the first of its parts."""

_BITS = (9, 13, 18, 30)
_RATIOS = ((0, 1), (1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def is_jxl(data: bytes) -> bool:
    """Tell whether a file is JPEG XL, bare or in a container."""
    return data.startswith((_CODESTREAM, _CONTAINER))


def read_jxl_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a JPEG XL file, before orientation; (0, 0) if it does not say.

    See SizeHeader in ISO/IEC 18181-1, D.2.
    """
    if data.startswith(_CODESTREAM):
        start = 2
    elif found := _BOX.search(data):
        start = found.end()
    else:
        return 0, 0
    bits = int.from_bytes(data[start : start + 10], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    is_small = take(1)

    def take_side() -> int:
        return 8 * (take(5) + 1) if is_small else take(_BITS[take(2)]) + 1

    height = take_side()
    if ratio := take(3):
        times, by = _RATIOS[ratio]
        return height * times // by, height
    return take_side(), height
