"""From bytes to pixels: decoding and resizing, as plain functions on Pillow and numpy only."""

from __future__ import annotations

import contextlib
import functools
import io
import typing
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from beamvec.model_spec import Interpolation
from beamvec.transforms.decoding import simd
from beamvec.transforms.decoding.bmp import MaskedBmp, has_masks, rewrite_rle4
from beamvec.transforms.decoding.colors import apply_profile, to_rgb
from beamvec.transforms.decoding.content import explain_unidentified
from beamvec.transforms.decoding.cost import JXL_BYTES, estimate_bytes, refuse_scans
from beamvec.transforms.decoding.jxl import is_jxl, read_jxl_size
from beamvec.transforms.decoding.layouts import refuse_layout
from beamvec.transforms.decoding.limits import MAX_PIXELS
from beamvec.transforms.decoding.png import read_png_profile, reduce_png
from beamvec.transforms.decoding.resize import Resizing

TURN_BYTES = 16 << 20
"""An image that takes more memory than that waits until there is room for it."""

_FILTERS = {name: Image.Resampling[name.upper()] for name in typing.get_args(Interpolation)}
_POINT_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
"""The filters that Pillow has without antialiasing."""

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


_FLIPS_X = (2, 3, 7, 8)
_FLIPS_Y = (3, 4, 6, 7)
"""The orientations in which an axis of the file runs against that of the picture."""

_XMP = ("xmp", "XML:com.adobe.xmp")
"""Where Pillow keeps XMP packets, whose orientation it would apply where EXIF has none."""


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


def _go_on(size_bytes: int) -> None:
    pass


def decode_image(
    data: bytes,
    resizing: Resizing,
    before_large: Callable[[int], None] = _go_on,
    max_pixels: int = MAX_PIXELS,
) -> DecodedImage:
    """Decode the bytes of an image file and resize it to a square.

    JPEG is decoded at the smallest DCT scale that leaves at least twice the target size, or in
    full where `antialias` is off, as what is left out then counts. The orientation of the EXIF
    block is applied, and ignored where that is broken; one that stands in an XMP packet only is
    not, as browsers do not. Animations give their first frame. 16-bit and float values are scaled
    to 8 bits, transparent parts lie on white. Damage to the pixels is an error, damage behind them
    is not.

    Of an image of more than 90 million pixels Pillow warns with a `DecompressionBombWarning`.
    It is not held back here, as filters of warnings are global, and no thread's own; decoder
    processes set one for themselves.

    Args:
        data: the content of the file.
        resizing: how it becomes a square, and what becomes of a colour profile.
        before_large: called with the bytes of memory that it takes, before an image is decoded
            that takes more than `TURN_BYTES`, for callers that bound their memory.
        max_pixels: images of more are refused as decompression bombs.

    Raises:
        UnidentifiedImageError: for a file that Pillow does not read; it says what it is.
        UnsupportedImageError: for one that Pillow would not get right.
        Exception: whatever Pillow raises for data that it cannot decode.
        Image.DecompressionBombError: for an image of more than `max_pixels`.

    >>> buffer = io.BytesIO()
    >>> Image.new("RGB", (40, 20), "red").save(buffer, "PNG")
    >>> image = decode_image(buffer.getvalue(), Resizing(8))
    >>> image.pixels.shape, image.pixels[0, 0].tolist(), image.width, image.format
    ((8, 8, 3), [255, 0, 0], 40, 'PNG')
    """
    size_bytes = 0
    if is_jxl(data):  # Opening it decodes it.
        width, height = read_jxl_size(data)
        _refuse_bomb((width, height), max_pixels)
        size_bytes = JXL_BYTES * width * height
        if size_bytes > TURN_BYTES:
            before_large(size_bytes)
    with _open(data) as image:
        _refuse_bomb(image.size, max_pixels)
        refuse_layout(image, data)
        if image.format in ("JPEG", "MPO"):
            refuse_scans(data)
        full_size = image.size
        target = _target_size(*full_size, resizing)
        if resizing.antialias:
            image.draft(image.mode, (2 * target[0], 2 * target[1]))
        if not size_bytes:
            size_bytes = estimate_bytes(image, full_size[0] * full_size[1])
            if size_bytes > TURN_BYTES:
                before_large(size_bytes)
        for name in _XMP:
            image.info.pop(name, None)
        # The orientation comes after: to look for it loads a PNG, whose errors count.
        image.load()
        orientation = _read_orientation(image)
        resized, corner = _resize(_unify(image, data, resizing), target, resizing, orientation)
        profile = _read_profile(image, data) if resizing.color_profile == "srgb" else None
        square = _pad(apply_profile(resized, profile), corner, resizing.size)
        width, height = full_size
        if orientation in _TRANSPOSE:
            square = square.transpose(_TRANSPOSE[orientation])
            if orientation >= 5:
                width, height = height, width
        return DecodedImage(np.asarray(square), width, height, image.format or "")


def _open(data: bytes) -> ImageFile.ImageFile:
    if not data:
        raise UnidentifiedImageError("the file is empty")
    if has_masks(data):
        return MaskedBmp(io.BytesIO(data))
    try:
        return Image.open(io.BytesIO(rewrite_rle4(reduce_png(data))), formats=_formats())
    except (UnidentifiedImageError, KeyError) as error:
        raise UnidentifiedImageError(explain_unidentified(data)) from error
    except RuntimeError as error:
        if is_jxl(data):  # Its plugin says no more than "Generic Error".
            raise OSError("this JPEG XL file is damaged or ends too early") from error
        raise


@functools.cache
def _formats() -> list[str]:
    """Every format that Pillow reads, common ones first, but EPS: it runs Ghostscript."""
    Image.preinit()
    Image.init()
    _register_extras()
    return [name for name in Image.ID if name != "EPS"]


def _register_extras() -> None:
    """Have Pillow read what the extras `heif` and `jxl` can, where they are installed."""
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    with contextlib.suppress(ImportError):
        import pillow_jxl  # noqa: F401 Importing it registers it.


def _refuse_bomb(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise Image.DecompressionBombError(
            f"{width} x {height} is more than the {max_pixels:,} pixels of --max-pixels"
        )


def _read_orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow turns it itself while it is loaded.
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 Third-party parsing of data that the picture does not depend on.
        return 1


def _unify(image: Image.Image, data: bytes, resizing: Resizing) -> Image.Image:
    """Return an image as RGB, or as it is where it becomes that once it is small.

    Grey is the same then, and a profile is applied to few pixels.
    """
    late = ("L", "CMYK") if resizing.color_profile == "srgb" else ("L",)
    is_plain = image.mode in late and "transparency" not in image.info
    return image if is_plain else to_rgb(image, data)


def _read_profile(image: Image.Image, data: bytes) -> bytes | None:
    return read_png_profile(data) or image.info.get("icc_profile")


def _target_size(width: int, height: int, resizing: Resizing) -> tuple[int, int]:
    if resizing.mode == "stretch":
        return resizing.size, resizing.size
    if resizing.mode == "crop":
        scale = resizing.size / resizing.crop_ratio / min(width, height)
    else:
        scale = resizing.size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resize(
    image: Image.Image, target: tuple[int, int], resizing: Resizing, orientation: int
) -> tuple[Image.Image, tuple[int, int]]:
    """Resize an image to its target size, and cut that to a square around its centre.

    What would be cut off is never made: of a thin image that is most of it.

    Returns:
        The image, and the left and the top of the square in it, less than 0 where it is larger.
    """
    size = resizing.size
    left = _find_start(target[0], size, orientation in _FLIPS_X)
    top = _find_start(target[1], size, orientation in _FLIPS_Y)
    part = min(target[0], size), min(target[1], size)
    scales = image.width / target[0], image.height / target[1]
    start = max(left, 0) * scales[0], max(top, 0) * scales[1]
    if resizing.antialias:
        end = start[0] + part[0] * scales[0], start[1] + part[1] * scales[1]
        box = (*start, min(end[0], image.width), min(end[1], image.height))
        filter_ = _FILTERS[resizing.interpolation]
        by_simd = resizing.resizer == "simd" and simd.can_resize(image, part, box, filter_)
        resize = simd.resize if by_simd else Image.Image.resize
        resized = resize(image, part, resample=filter_, box=box)
    else:
        # Each new pixel's centre is looked up in the old image, however far apart they lie there.
        affine = (scales[0], 0, start[0], 0, scales[1], start[1])
        interpolation = _POINT_FILTERS[resizing.interpolation]
        resized = image.transform(part, Image.Transform.AFFINE, affine, interpolation)
    return resized, (min(left, 0), min(top, 0))


def _pad(image: Image.Image, corner: tuple[int, int], size: int) -> Image.Image:
    """Put an image on a black square that begins at a corner, if it is none itself."""
    left, top = corner
    return image if image.size == (size, size) else image.crop((left, top, left + size, top + size))


def _find_start(target: int, size: int, is_flipped: bool) -> int:
    """Return where a square starts in a target size, less than 0 where it is larger.

    Half a pixel that is left over is to the right or below in the picture as displayed.
    """
    start = (target - size) // 2
    return target - size - start if is_flipped else start
