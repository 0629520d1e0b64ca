"""From bytes to pixels: decoding and resizing, as plain functions and as `DecodeImages`."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection
from PIL import ExifTags, Image, UnidentifiedImageError

from transforms import storage
from transforms.coders import InProcessCoder
from transforms.records import Chunk, DecodedChunk, Failure, ImageInfo, ImageRef, Timings
from transforms.settings import Resize

MAX_PIXELS = 178_956_970
"""Images of more pixels are refused as decompression bombs: Pillow's own default limit."""

READ_THREADS = 16
"""Images read at the same time by each bundle, so that slow storage does not starve the model."""

_MAX_MESSAGE = 300
_CROP_RATIO = 256 / 224
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

# Pillow warns of images half as large as those that it refuses; MAX_PIXELS is the limit here.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# Decoding is work for a core: more at once than there are cores would only take memory.
_decode_slots = threading.BoundedSemaphore(os.cpu_count() or 1)


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


def decode_image(data: bytes, size: int, resize: Resize = "stretch") -> DecodedImage:
    """Decode the bytes of an image file and resize it to a square.

    JPEG is decoded at the smallest DCT scale that leaves at least twice the target size. EXIF
    orientation is applied, and ignored where the EXIF block is broken. Animations give their first
    frame. 16-bit and float values are scaled to 8 bits, transparent parts lie on white. Colour
    profiles are not applied.

    Args:
        data: the content of the file.
        size: S, the target's width and height in pixels.
        resize: `stretch` changes the aspect ratio; `crop` resizes the short side to 256/224 of
            the size and takes the centre; `pad` resizes the long side and adds black bars. All
            are bilinear with antialiasing.

    Raises:
        Exception: whatever Pillow raises for data that it cannot decode.
        Image.DecompressionBombError: for an image of more than `MAX_PIXELS`.

    >>> buffer = io.BytesIO()
    >>> Image.new("RGB", (40, 20), "red").save(buffer, "PNG")
    >>> image = decode_image(buffer.getvalue(), 8)
    >>> image.pixels.shape, image.pixels[0, 0].tolist(), image.width, image.format
    ((8, 8, 3), [255, 0, 0], 40, 'PNG')
    """
    if not data:
        raise UnidentifiedImageError("the file is empty")
    with Image.open(io.BytesIO(data), formats=_formats()) as image:
        _refuse_bomb(image)
        orientation = _read_orientation(image)
        width, height = image.size
        target = _target_size(width, height, size, resize)
        image.draft(image.mode, (2 * target[0], 2 * target[1]))
        image.load()
        resized = _to_rgb(image).resize(target, Image.Resampling.BILINEAR)
        if orientation in _TRANSPOSE:
            resized = resized.transpose(_TRANSPOSE[orientation])
            if orientation >= 5:
                width, height = height, width
        square = _to_square(resized, size)
        return DecodedImage(np.asarray(square), width, height, image.format or "")


@functools.cache
def _formats() -> list[str]:
    """Every format that Pillow reads, but EPS: it runs Ghostscript on the file."""
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


def _target_size(width: int, height: int, size: int, resize: Resize) -> tuple[int, int]:
    if resize == "stretch":
        return size, size
    if resize == "crop":
        scale = size * _CROP_RATIO / min(width, height)
    else:
        scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _to_square(image: Image.Image, size: int) -> Image.Image:
    """Cut or pad an image around its centre."""
    if image.size == (size, size):
        return image
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, _WHITE), rgba).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Scale grey values to uint8: from 0..65535 or 0..1 if they lie in it, else from min..max."""
    numbers = np.nan_to_num(values.astype(np.float64))
    low, high = float(numbers.min()), float(numbers.max())
    whole = np.issubdtype(values.dtype, np.integer)
    full = 65535.0 if whole else 1.0
    if low >= 0 and high <= full:
        low, high = 0.0, full
    scaled = (numbers - low) * (255 / ((high - low) or 1.0))
    return np.rint(scaled).astype(np.uint8)


def describe_error(error: BaseException) -> tuple[str, str]:
    r"""Return an error's type and its message: one printable line, bounded, repeatable.

    >>> describe_error(ValueError("bad\nimage"))
    ('ValueError', 'bad image')
    """
    text = str(error) or "no message"
    text = re.sub(r" ?<_io\.BytesIO object at 0x[0-9a-f]+>", "", text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return type(error).__name__, text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "…"


class _Outcome(NamedTuple):
    """An image or a failure, whichever it came to."""

    image: ImageInfo | None
    failure: Failure | None
    timings: Timings


def _decode_ref(ref: ImageRef, out: npt.NDArray[np.uint8], size: int, resize: Resize) -> _Outcome:
    """Read and decode one image into `out`, uint8 [S, S, 3] RGB."""
    start = time.perf_counter()
    try:
        data = storage.read_bytes(ref.uri)
    except storage.READ_ERRORS as error:
        failure = Failure(ref, "read", *describe_error(error), ref.size_bytes)
        return _Outcome(None, failure, Timings(read_s=time.perf_counter() - start))
    read_s = time.perf_counter() - start
    with _decode_slots:
        start = time.perf_counter()
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            decoded = decode_image(data, size, resize)
        except Exception as error:  # noqa: BLE001 Decoders raise what they like.
            failure = Failure(ref, "decode", *describe_error(error), len(data))
            return _Outcome(None, failure, Timings(read_s, time.perf_counter() - start))
        out[:] = decoded.pixels
        timings = Timings(read_s, time.perf_counter() - start)
    info = ImageInfo(ref, sha256, decoded.width, decoded.height, decoded.format, len(data))
    return _Outcome(info, None, timings)


def decode_chunk(
    chunk: Chunk, size: int, resize: Resize, threads: ThreadPoolExecutor
) -> DecodedChunk:
    """Read and decode the images of a chunk, several at a time; the result keeps their order.

    Args:
        chunk: the images.
        size: S, the target's width and height in pixels.
        resize: see `decode_image`.
        threads: where the images are read and decoded.
    """
    pixels = np.empty((len(chunk.refs), size, size, 3), np.uint8)
    decode = functools.partial(_decode_ref, size=size, resize=resize)
    outcomes = list(threads.map(decode, chunk.refs, pixels))
    decoded = np.array([outcome.image is not None for outcome in outcomes], bool)
    return DecodedChunk(
        chunk=chunk,
        pixels=pixels if decoded.all() else pixels[decoded],
        images=[outcome.image for outcome in outcomes if outcome.image],
        failures=[outcome.failure for outcome in outcomes if outcome.failure],
        timings=sum((outcome.timings for outcome in outcomes), Timings()),
    )


class DecodeImages(beam.PTransform[Any, Any]):
    """Read, decode and resize: `Chunk` -> `DecodedChunk` with uint8 [n, S, S, 3] RGB pixels."""

    def __init__(self, size: int, resize: Resize):
        super().__init__()
        self._size = size
        self._resize = resize

    def expand(self, chunks: PCollection[Chunk]) -> PCollection[DecodedChunk]:
        """Apply the transform."""
        return chunks | "Decode" >> beam.ParDo(_DecodeFn(self._size, self._resize))


class _DecodeFn(beam.DoFn):
    """Keeps a thread pool."""

    def __init__(self, size: int, resize: Resize):
        self._size = size
        self._resize = resize
        self._images_in = Metrics.counter("beamvec", "images_in")
        self._images_decoded = Metrics.counter("beamvec", "images_decoded")
        self._images_failed = Metrics.counter("beamvec", "images_failed")

    def setup(self) -> None:
        self._threads = ThreadPoolExecutor(READ_THREADS, "decode")

    def process(self, chunk: Chunk) -> Iterator[DecodedChunk]:
        decoded = decode_chunk(chunk, self._size, self._resize, self._threads)
        self._images_in.inc(len(chunk.refs))
        self._images_decoded.inc(len(decoded.images))
        self._images_failed.inc(len(decoded.failures))
        yield decoded

    def teardown(self) -> None:
        self._threads.shutdown()


beam.coders.registry.register_coder(DecodedChunk, InProcessCoder)
