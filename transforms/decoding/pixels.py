"""From bytes to pixels: decoding and resizing, as plain functions on Pillow and numpy only."""

from __future__ import annotations

import functools
import io
import typing
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from beamvec.model_spec import Interpolation
from beamvec.transforms.decoding.resize import Resizing

MAX_PIXELS = 178_956_970
"""Images of more pixels are refused as decompression bombs: Pillow's own default limit."""

LARGE_PIXELS = 25_000_000
"""Of images of more pixels a pool decodes one at a time, so that memory stays bounded."""

BLOCK_PIXELS = 1 << 20
"""Pixels that are converted at a time: what is done in float64 or needs copies would take gigabytes
for a whole image of `MAX_PIXELS`."""

_FILTERS = {name: Image.Resampling[name.upper()] for name in typing.get_args(Interpolation)}
_POINT_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
"""The filters that Pillow has without antialiasing."""

_WHITE = (255, 255, 255, 255)
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation; see the table of tag 0x0112 in the EXIF 2.32 standard."""


class DecodedImage(NamedTuple):
    """A decoded image.

    Attributes:
        pixels: uint8 [S, S, 3] RGB.
        width: width as displayed, after EXIF orientation, before resizing.
        height: height likewise.
        format: Pillow's name of the file's format, such as JPEG.
    """

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int
    format: str


def _go_on() -> None:
    pass


def decode_image(
    data: bytes,
    resizing: Resizing,
    before_large: Callable[[], None] = _go_on,
) -> DecodedImage:
    """Decode the bytes of an image file and resize it to a square.

    JPEG is decoded at the smallest DCT scale that leaves at least twice the target size, or in
    full where `antialias` is off, as what is left out then counts. EXIF
    orientation is applied, and ignored where the EXIF block is broken. Animations give their first
    frame. 16-bit and float values are scaled to 8 bits, transparent parts lie on white. Colour
    profiles are not applied.

    Of an image of more than half of `MAX_PIXELS` Pillow warns with a `DecompressionBombWarning`.
    It is not held back here, as filters of warnings are global, and no thread's own; decoder
    processes set one for themselves.

    Args:
        data: the content of the file.
        resizing: how it becomes a square.
        before_large: called before an image of more than `LARGE_PIXELS` is decoded, for callers
            that bound their memory.

    Raises:
        Exception: whatever Pillow raises for data that it cannot decode.
        Image.DecompressionBombError: for an image of more than `MAX_PIXELS`.

    >>> buffer = io.BytesIO()
    >>> Image.new("RGB", (40, 20), "red").save(buffer, "PNG")
    >>> image = decode_image(buffer.getvalue(), Resizing(8))
    >>> image.pixels.shape, image.pixels[0, 0].tolist(), image.width, image.format
    ((8, 8, 3), [255, 0, 0], 40, 'PNG')
    """
    if not data:
        raise UnidentifiedImageError("the file is empty")
    with Image.open(io.BytesIO(data), formats=_formats()) as image:
        _refuse_bomb(image)
        orientation = _read_orientation(image)
        width, height = image.size
        target = _target_size(width, height, resizing)
        if resizing.antialias:
            image.draft(image.mode, (2 * target[0], 2 * target[1]))
        if image.width * image.height > LARGE_PIXELS:
            before_large()
        image.load()
        resized = _resize(_to_rgb(image), target, resizing)
        if orientation in _TRANSPOSE:
            resized = resized.transpose(_TRANSPOSE[orientation])
            if orientation >= 5:
                width, height = height, width
        square = _to_square(resized, resizing.size)
        return DecodedImage(np.asarray(square), width, height, image.format or "")


@functools.cache
def _formats() -> list[str]:
    """Every format that Pillow reads, common ones first, but EPS: it runs Ghostscript."""
    Image.preinit()
    Image.init()
    return [name for name in Image.ID if name != "EPS"]


def _refuse_bomb(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError(
            f"{image.width} x {image.height} is more than {MAX_PIXELS} pixels"
        )


def _read_orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow turns it itself while it is loaded.
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 Third-party parsing of data that the picture does not depend on.
        return 1


def _target_size(width: int, height: int, resizing: Resizing) -> tuple[int, int]:
    if resizing.mode == "stretch":
        return resizing.size, resizing.size
    if resizing.mode == "crop":
        scale = resizing.size / resizing.crop_ratio / min(width, height)
    else:
        scale = resizing.size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resize(image: Image.Image, target: tuple[int, int], resizing: Resizing) -> Image.Image:
    if resizing.antialias:
        return image.resize(target, _FILTERS[resizing.interpolation])
    # Each new pixel's centre is looked up in the old image, however far apart they lie there.
    scale = (image.width / target[0], 0, 0, 0, image.height / target[1], 0)
    return image.transform(
        target, Image.Transform.AFFINE, scale, _POINT_FILTERS[resizing.interpolation]
    )


def _to_square(image: Image.Image, size: int) -> Image.Image:
    """Cut or pad an image around its centre."""
    if image.size == (size, size):
        return image
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(to_8_bits(np.asarray(image)))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _on_white(image)
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Return a transparent image as RGB on white, band by band."""
    flat = Image.new("RGB", image.size)
    rows = max(1, BLOCK_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        band = image.crop(box).convert("RGBA")
        white = Image.new("RGBA", band.size, _WHITE)
        flat.paste(Image.alpha_composite(white, band).convert("RGB"), box)
    return flat


def to_8_bits(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Scale grey values to 0..255: from 0..65535 or 0..1 if they lie in it, else from min..max.

    Args:
        values: integers or floats [height, width]; NaN counts as 0, infinity as the largest value.

    Returns:
        uint8 [height, width].

    >>> to_8_bits(np.array([[0, 65535]], np.uint16)).tolist()
    [[0, 255]]
    """
    rows = max(1, BLOCK_PIXELS // values.shape[1])
    blocks = [values[start : start + rows] for start in range(0, len(values), rows)]
    low = min(float(_to_finite(block).min()) for block in blocks)
    high = max(float(_to_finite(block).max()) for block in blocks)
    full = 65535.0 if np.issubdtype(values.dtype, np.integer) else 1.0
    if low >= 0 and high <= full:
        low, high = 0.0, full
    factor = 255 / ((high - low) or 1.0)
    scaled = np.empty(values.shape, np.uint8)
    for start, block in zip(range(0, len(values), rows), blocks, strict=True):
        scaled[start : start + rows] = np.rint((_to_finite(block) - low) * factor)
    return scaled


def _to_finite(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64))
