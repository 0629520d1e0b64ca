"""Small pictures of a dataset's images, to stand inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from beamvec.embeddings import Dataset
from beamvec.embeddings.counted import counted
from beamvec.pipeline.labels import find_labels
from beamvec.pipeline.originals import Originals, UnfitError, count_reasons
from beamvec.pipeline.pages.links import find_links
from beamvec.pipeline.terminal import busy
from beamvec.transforms.decoding.pool import DecoderError, DecoderPool, SharedPool
from beamvec.transforms.decoding.resize import Resizing

THUMBNAIL_SIZE = 128
"""The longer side of a thumbnail in pixels, some 3 kB each."""

_QUALITY = 70

_WITHIN_S = 60.0
"""What a page waits for pictures: a store may be slow, or a container far away and large."""


class Thumbnails(dict[str, str]):
    """A `data:` URI for each image that has a thumbnail, by uri: WebP or JPEG, what is smaller.

    Attributes:
        missed: why the others have none, by uri.
        links: where a browser finds the images themselves, as far as it can, by uri.
        labels: their labels, as text, by uri; empty for a dataset without a column of labels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.missed: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.labels: dict[str, str] = {}

    def add(
        self, uris: Sequence[str], originals: Originals | None = None, size: int = THUMBNAIL_SIZE
    ) -> None:
        """Read, decode and shrink images, in the processes that decode for `extract`.

        Args:
            uris: the images.
            originals: where they are; None for where their uris say.
            size: the longer side in pixels.
        """
        busy(f"making pictures of {counted(len(uris), 'image')}")
        pool = SharedPool().get()
        originals = originals or Originals(within_s=_WITHIN_S)
        seen = originals.see(uris, lambda _, data: _make_thumbnail(data, size, pool))
        self.update(seen.made)
        self.missed.update(seen.missed)
        self.links.update(find_links(uris, originals))

    def link(self, uris: Sequence[str], dataset: Dataset) -> None:
        """Find links to images of a dataset that have no picture."""
        self.links.update(find_links(uris, Originals(dataset)))

    def describe_missed(self) -> str:
        """Say how many images have no picture, and why; empty if all have one."""
        if not self.missed:
            return ""
        total = len(self) + len(self.missed)
        reasons = count_reasons(self.missed)
        return f"{len(self.missed):,} of {counted(total, 'image')} without a picture: {reasons}"


def make_thumbnails(
    uris: Sequence[str], dataset: Dataset | None = None, size: int = THUMBNAIL_SIZE
) -> Thumbnails:
    """Return the thumbnails of images of a dataset, see `Thumbnails.add`."""
    thumbnails = Thumbnails()
    thumbnails.add(uris, Originals(dataset, within_s=_WITHIN_S), size)
    if dataset is not None:
        thumbnails.labels.update(find_labels(dataset, uris))
    return thumbnails


def _make_thumbnail(data: bytes, size: int, pool: DecoderPool) -> str:
    try:
        decoded = pool.decode(data, Resizing(size, "pad"))
    except DecoderError as error:
        raise UnfitError("not decodable any more") from error
    pixels = cut_bars(decoded.pixels, decoded.width, decoded.height)
    image = Image.fromarray(pixels)
    files = {kind: _encode(image, kind) for kind in ("webp", "jpeg")}
    kind = min(files, key=lambda each: len(files[each]))
    return f"data:image/{kind};base64," + base64.b64encode(files[kind]).decode()


def _encode(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=_QUALITY)
    return buffer.getvalue()


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
