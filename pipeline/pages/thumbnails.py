"""Small pictures of a dataset's images, to stand inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from beamvec.transforms.decoding.decode import READ_THREADS
from beamvec.transforms.decoding.pool import DecoderError, DecoderPool, SharedPool
from beamvec.transforms.decoding.resize import Resizing
from beamvec.transforms.files import storage

THUMBNAIL_SIZE = 128
"""The longer side of a thumbnail in pixels, some 3 kB each."""

_QUALITY = 70


def make_thumbnails(uris: Sequence[str], size: int = THUMBNAIL_SIZE) -> dict[str, str]:
    """Read, decode and shrink images, in the processes that decode for `extract`.

    Args:
        uris: the images; one that cannot be read or decoded any more has no thumbnail.
        size: the longer side in pixels.

    Returns:
        A `data:` URI of a WebP file for each image that has a thumbnail.
    """
    pool = SharedPool().get()
    distinct = list(dict.fromkeys(uris))
    with ThreadPoolExecutor(READ_THREADS, "thumbnails") as threads:
        made = list(threads.map(lambda uri: _make_thumbnail(uri, size, pool), distinct))
    return {uri: picture for uri, picture in zip(distinct, made, strict=True) if picture}


def _make_thumbnail(uri: str, size: int, pool: DecoderPool) -> str | None:
    read = storage.try_read(uri)
    if read.error:
        return None
    try:
        decoded = pool.decode(read.data, Resizing(size, "pad"))
    except DecoderError:
        return None
    pixels = cut_bars(decoded.pixels, decoded.width, decoded.height)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def cut_bars(pixels: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Cut the bars off a padded image.

    Args:
        pixels: uint8 [S, S, 3] RGB.
        width: of the image that is in it, before it was resized.
        height: likewise.

    >>> cut_bars(np.zeros((8, 8, 3), np.uint8), 40, 20).shape
    (4, 8, 3)
    """
    size = len(pixels)
    scale = size / max(width, height)
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (size - columns) // 2, (size - rows) // 2
    return pixels[top : top + rows, left : left + columns]
