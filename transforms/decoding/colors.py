"""From the modes of Pillow to RGB of 8 bits: values scaled, transparency on white, profiles."""

from __future__ import annotations

import functools
import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageCms, PngImagePlugin, TiffImagePlugin

BLOCK_PIXELS = 1 << 20
"""Pixels that are converted at a time: what is done in float64 or needs copies would take gigabytes
for a whole image of the largest."""

_WHITE = (255, 255, 255, 255)


def to_rgb(image: Image.Image, data: bytes) -> Image.Image:
    """Convert a loaded image to RGB; transparent parts lie on white.

    Args:
        image: in any mode.
        data: the content of its file, whose header tells what the mode does not.
    """
    if image.mode.startswith(("I", "F")):
        image = _to_grey(image)
    elif isinstance(image, PngImagePlugin.PngImageFile):
        _scale_transparent(image, bits=data[24])
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_grey(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    grey = Image.fromarray(to_8_bits(values, bits=max(tags.get(258, (16,)))))
    if tags.get(262) == 0:  # 0 is white: Pillow takes that into account for 8 bits only.
        return ImageChops.invert(grey)
    if isinstance(transparent := image.info.get("transparency"), int):
        grey.paste(255, mask=Image.fromarray(values == transparent))
    return grey


def _scale_transparent(image: Image.Image, bits: int) -> None:
    """Scale a PNG's transparent grey or colour as Pillow scales its pixels."""
    transparent = image.info.get("transparency")
    if image.mode == "L" and isinstance(transparent, int) and bits < 8:
        image.info["transparency"] = transparent * 255 // (2**bits - 1)
    if image.mode == "RGB" and isinstance(transparent, tuple) and bits == 16:
        # Of 16 bits Pillow keeps the upper 8: colours that agree in these are one here.
        image.info["transparency"] = tuple(value >> 8 for value in transparent)


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


def to_8_bits(values: npt.NDArray[np.generic], bits: int = 16) -> npt.NDArray[np.uint8]:
    """Scale grey values to 0..255: from the full range or 0..1 if they lie in it, else min..max.

    Args:
        values: integers or floats [height, width]; NaN counts as 0, infinity as the largest value.
        bits: of an integer, 12 where the full range is 0..4095, else 0..65535.

    Returns:
        uint8 [height, width].

    >>> to_8_bits(np.array([[0, 65535]], np.uint16)).tolist()
    [[0, 255]]
    """
    rows = max(1, BLOCK_PIXELS // values.shape[1])
    blocks = [values[start : start + rows] for start in range(0, len(values), rows)]
    low = min(float(_to_finite(block).min()) for block in blocks)
    high = max(float(_to_finite(block).max()) for block in blocks)
    full = 2.0 ** min(bits, 16) - 1 if np.issubdtype(values.dtype, np.integer) else 1.0
    if low >= 0 and high <= full:
        low, high = 0.0, full
    factor = 255 / ((high - low) or 1.0)
    scaled = np.empty(values.shape, np.uint8)
    for start, block in zip(range(0, len(values), rows), blocks, strict=True):
        scaled[start : start + rows] = np.rint((_to_finite(block) - low) * factor)
    return scaled


def _to_finite(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64))


def apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a small image from its colour profile to sRGB, as RGB.

    Args:
        image: RGB, grey or CMYK.
        profile: an ICC profile, None if there is none; a broken one, or one for another kind of
            image, is ignored, as browsers do.
    """
    if not profile or image.mode not in ("RGB", "L", "CMYK"):
        return image if image.mode == "RGB" else image.convert("RGB")
    try:
        transform = _make_transform(profile, image.mode)
        converted = transform.apply(image)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")
    return converted


@functools.lru_cache(8)
def _make_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    target = ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(
        source,
        target,
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
