"""Resizing as Pillow does it, several times as fast: SIMD instructions of `cykooz.resizer`.

Its arithmetic is in whole numbers, and gives the same bytes with every instruction set. It reads
and writes Pillow's memory in place, in the calling thread. Of Pillow's own result no value is more
than one grey level away, as `tests/test_simd.py` tries out.
"""

from __future__ import annotations

import contextlib
import functools
import math
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from cykooz_resizer import FilterType, ResizeOptions, Resizer

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""

_MODES = ("RGB", "L", "CMYK")

_FILTERS = {
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "catmull_rom",
    Image.Resampling.LANCZOS: "lanczos3",
}
"""Those that agree. At the edges of its pixels `box` does not, and the others are not there."""

_SUPPORT = {
    Image.Resampling.BILINEAR: 1.0,
    Image.Resampling.BICUBIC: 2.0,
    Image.Resampling.LANCZOS: 3.0,
}
"""How far a filter reaches to each side, in pixels of the larger image."""

_LEAST_REDUCTION = 2.0
"""From here on filters that overshoot agree to one grey level. Below, one value in a hundred
thousand differs by two, as each pass rounds to 8 bits."""

_TALL = 100
"""From so many times as high as wide on Pillow swaps its passes."""


def can_resize(
    image: Image.Image, size: tuple[int, int], box: Box, resample: Image.Resampling
) -> bool:
    """Tell whether the result will agree with that of `image.resize(size, resample, box)`."""
    if image.mode not in _MODES or resample not in _FILTERS or image.height > _TALL * image.width:
        return False
    reduction = min((box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1])
    return resample == Image.Resampling.BILINEAR or reduction >= _LEAST_REDUCTION


def resize(
    image: Image.Image, size: tuple[int, int], box: Box, resample: Image.Resampling
) -> Image.Image:
    """Do what `image.resize(size, resample, box)` does, where `can_resize` says so.

    The passes are done one by one, as Pillow begins with the rows and the library with the
    columns: each rounds, so that the order shows.
    """
    left, top, right, bottom = box
    reach = _SUPPORT[resample] * max(1.0, (bottom - top) / size[1]) + 1
    first = max(0, math.floor(top - reach))
    last = min(image.height, math.ceil(bottom + reach))
    strip = Image.new(image.mode, (size[0], last - first), None)
    _pass(image, strip, (left, first, right, last), resample)
    resized = Image.new(image.mode, size, None)
    _pass(strip, resized, (0, top - first, size[0], bottom - first), resample)
    return resized


def _pass(source: Image.Image, target: Image.Image, box: Box, resample: Image.Resampling) -> None:
    width = _fit(box[0], box[2] - box[0], source.width)
    height = _fit(box[1], box[3] - box[1], source.height)
    resizer, filter_ = _load(resample)
    resizer.resize_pil(source, target, _options(filter_, (box[0], box[1], width, height)))


def _fit(start: float, length: float, end: int) -> float:
    """Take off what rounding has put beyond the end, which the library refuses."""
    while start + length > end:
        length = math.nextafter(length, 0)
    return length


def _options(filter_: FilterType, box: Box) -> ResizeOptions:
    from cykooz_resizer import CropBox, ResizeAlg, ResizeOptions

    algorithm = ResizeAlg.convolution(filter_)
    return ResizeOptions(algorithm, use_alpha=False, crop_box=CropBox(*box))


@functools.cache
def _load(resample: Image.Resampling) -> tuple[Resizer, FilterType]:
    from cykooz_resizer import FilterType, Resizer

    return Resizer(), FilterType[_FILTERS[resample]]


@functools.cache
def is_available() -> bool:
    """Tell whether the library is there, and does what Pillow does.

    It knows how this and earlier versions of Pillow lay out their memory. With one that does it
    otherwise it would give wrong pixels, so it is tried.
    """
    ramp = Image.linear_gradient("L").crop((0, 0, 64, 256))
    picture = Image.merge("RGB", (ramp, ramp.rotate(180), Image.new("L", ramp.size, 90)))
    bilinear, size, box = Image.Resampling.BILINEAR, (9, 30), (0.5, 2.0, 60.25, 250.0)
    with contextlib.suppress(ImportError, RuntimeError, TypeError, ValueError):
        found = resize(picture, size, box, bilinear)
        pairs = zip(found.tobytes(), picture.resize(size, bilinear, box).tobytes(), strict=True)
        return all(abs(one - other) <= 1 for one, other in pairs)
    return False
