"""What decoding an image costs: the memory it needs, and the time its scans take."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from beamvec.transforms.decoding.unsupported import UnsupportedImageError

MAX_SCANS = 200
"""A JPEG of more scans is refused. Progressive ones have about 10, and never need more than 100;
each costs a pass over the whole picture, so that 3 MB of empty scans keep a decoder busy for
minutes."""

_STORED_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""How much Pillow holds a pixel, where that is not 4."""

_DECODER_BYTES = {
    "WEBP": 12,  # The canvas of the animation decoder, the one before, and a copy for Python.
    "AVIF": 16,  # Planes of up to 16 bits, their RGBA, and a copy for Python.
    "HEIF": 16,
    "JPEG2000": 18,  # An int32 a sample, twice while wavelets are undone.
    "TIFF": 4,  # One strip or tile, which may be all of the picture.
    "PSD": 4,
}
"""What a format's decoder holds a pixel beside Pillow's picture; measured with
`benchmarks/decode_memory.py`."""

JXL_BYTES = 20
"""How much the plugin for JPEG XL holds a pixel; it decodes before anything else is known."""

_PROGRESSIVE_BYTES = 6
"""A pixel's coefficients, int16 of three components, which are kept until the last scan."""

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def estimate_bytes(image: Image.Image, full_pixels: int) -> int:
    """Return how much memory decoding and converting an opened image takes at the most.

    Args:
        image: opened, reduced by `draft` where that is possible, not loaded.
        full_pixels: of the picture in the file, before `draft`.
    """
    pixels = image.width * image.height
    stored = _STORED_BYTES.get(image.mode, 4)
    # Another mode than RGB needs a copy in RGB; transparent ones and values of 16 or 32 bits are
    # converted band by band, into such a copy.
    copy = 0 if image.mode == "RGB" and "transparency" not in image.info else 4
    if image.mode.startswith(("I", "F")):
        copy = max(copy + 1, 2 * stored)  # As an array they are copied, and so is that.
    beside = _DECODER_BYTES.get(image.format or "", 0)
    coefficients = _PROGRESSIVE_BYTES * full_pixels if image.info.get("progressive") else 0
    return pixels * (stored + max(copy, beside)) + coefficients


def refuse_scans(data: bytes) -> None:
    """Refuse a JPEG of more than `MAX_SCANS` scans.

    Raises:
        UnsupportedImageError: if it is one.
    """
    # In its data 0xFF never stands alone, so that this counts no fewer than there are.
    if _count_marks(data) > MAX_SCANS and (scans := _count_scans(data)) > MAX_SCANS:
        what = f"a JPEG of {scans:,} scans, more than {MAX_SCANS}"
        raise UnsupportedImageError(what, "it is made to keep decoders busy")


def _count_marks(data: bytes) -> int:
    r"""Do what `data.count(b"\xff\xda")` does, in a tenth of the time.

    >>> _count_marks(b"\xda\xff\xda\xda\xff")
    1
    """
    values = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(values[1:] == 0xDA)
    return int(np.count_nonzero(values[ends] == 0xFF))


def _count_scans(data: bytes) -> int:
    """Count the scans up to the end of the picture; see ITU-T T.81, B.1.1."""
    scans, at = 0, 2
    while found := _MARKER.search(data, at):
        marker, at = data[found.start() + 1], found.end()
        if marker == 0xD9:
            break
        scans += marker == 0xDA
        if marker != 0x01:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return scans
