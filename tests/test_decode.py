"""Decoding and resizing, as plain functions."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import samples
from beamvec.transforms.decoding import colors
from beamvec.transforms.decoding.decode import DecodeImages, decode_chunk
from beamvec.transforms.decoding.outcome import describe_error
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.pool import SharedPool
from beamvec.transforms.decoding.resize import Resizing
from beamvec.transforms.files.storage import ReadResult
from beamvec.transforms.planning.plan import plan_chunks
from beamvec.transforms.records.chunks import Chunk
from beamvec.transforms.records.images import Failure, ImageInfo, ImageRef

ORIENTATION = 0x0112


def decode_pixels(image: Image.Image, format_: str = "PNG", size: int = 8, **options) -> np.ndarray:
    return decode_image(samples.encode(image, format_, **options), Resizing(size)).pixels.astype(
        int
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_every_exif_orientation_is_undone(orientation, format_, resize):
    upright = samples.make_image(1, 120, 80)
    # The transpose that undoes `orientation`, applied backwards.
    backwards = {6: 8, 8: 6}.get(orientation, orientation)
    exif = Image.Exif()
    exif[ORIENTATION] = backwards
    probe = upright.copy()
    probe.getexif()[ORIENTATION] = backwards
    stored = ImageOps.exif_transpose(probe)
    exif[ORIENTATION] = orientation
    data = samples.encode(stored, format_, exif=exif, quality=95)
    turned = decode_image(data, Resizing(24, resize))
    straight = decode_image(samples.encode(upright, "PNG"), Resizing(24, resize))
    assert (turned.width, turned.height) == (120, 80)
    assert np.abs(turned.pixels.astype(int) - straight.pixels).mean() < 3


def test_a_broken_exif_block_is_no_failure():
    data = samples.encode(
        samples.make_image(1), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"
    )
    assert decode_image(data, Resizing(8)).width == 60


def test_stretch_is_antialiased_bilinear():
    image = samples.make_image(3, 97, 61)
    expected = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode_pixels(image, size=16), expected)


def test_crop_takes_the_centre_at_256_to_224():
    image = Image.new("RGB", (400, 200), "black")
    image.paste("white", (100, 0, 300, 200))  # The central square.
    pixels = decode_image(samples.encode(image, "PNG"), Resizing(224, "crop")).pixels
    assert pixels.min() == 255  # 224 of 256: the border of the square lies outside.
    image.paste("black", (0, 0, 120, 200))
    assert decode_image(samples.encode(image, "PNG"), Resizing(224, "crop")).pixels.min() == 0


def test_pad_keeps_the_aspect_ratio_on_black():
    pixels = decode_image(
        samples.encode(Image.new("RGB", (40, 20), "red"), "PNG"), Resizing(8, "pad")
    ).pixels
    np.testing.assert_array_equal(pixels[2:6], np.broadcast_to([255, 0, 0], (4, 8, 3)))
    assert not pixels[:2].any()
    assert not pixels[6:].any()


def test_16_bit_grey_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(1, 64).repeat(64, 0)
    for image, format_ in ((ramp, "PNG"), (ramp, "TIFF"), (ramp.astype(">u2"), "TIFF")):
        pixels = decode_pixels(Image.fromarray(image), format_, size=64)
        assert np.abs(pixels[0, :, 0] - np.linspace(0, 255, 64)).max() <= 1


def test_float_and_32_bit_values_are_scaled():
    ramp = np.linspace(0, 1, 32, dtype=np.float32).reshape(1, 32).repeat(32, 0)
    for scale in (1.0, 1000.0, -50.0):
        pixels = decode_pixels(Image.fromarray(ramp * scale), "TIFF", size=32)
        assert (pixels.min(), pixels.max()) == (0, 255)
    signed = ((ramp - 0.5) * 2**20).astype(np.int32)
    assert np.ptp(decode_pixels(Image.fromarray(signed), "TIFF", size=32)) == 255


@pytest.mark.parametrize("mode", ["I;16", "F", "RGBA", "LA", "P"])
def test_large_images_are_converted_in_blocks_to_the_same_pixels(mode, monkeypatch):
    if mode in ("I;16", "F"):
        image = Image.fromarray((np.arange(60 * 40).reshape(40, 60) * 27 - 9).astype("u2"))
        image = image if mode == "I;16" else image.convert("F")
        data = samples.encode(image, "TIFF")
    else:
        image = samples.make_image(7).convert(mode)
        data = samples.encode(image, "PNG", **({"transparency": 3} if mode == "P" else {}))
    whole = decode_image(data, Resizing(24)).pixels
    monkeypatch.setattr(colors, "BLOCK_PIXELS", 60 * 7 + 1)
    np.testing.assert_array_equal(decode_image(data, Resizing(24)).pixels, whole)


def test_16_bit_values_take_little_memory_beside_the_image():
    values = np.zeros((4000, 4000), np.uint16)
    tracemalloc.start()
    colors.to_8_bits(values)
    assert tracemalloc.get_traced_memory()[1] < 4 * values.size
    tracemalloc.stop()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK", "RGBA"])
def test_every_mode_becomes_rgb(mode):
    image = samples.make_image(5).convert(mode)
    format_ = "TIFF" if mode == "CMYK" else "PNG"
    expected = np.asarray(image.convert("RGB").resize((8, 8), Image.Resampling.BILINEAR), int)
    assert np.abs(decode_pixels(image, format_) - expected).max() <= 1


def test_cmyk_jpeg():
    image = samples.make_image(5).convert("CMYK")
    expected = np.asarray(samples.make_image(5).resize((8, 8), Image.Resampling.BILINEAR), int)
    assert np.abs(decode_pixels(image, "JPEG", quality=95) - expected).mean() < 8


def test_transparency_lies_on_white():
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    assert (decode_pixels(clear) == 255).all()
    palette = Image.new("P", (20, 20), 3)
    palette.putpalette([0, 0, 0] * 256)
    assert (decode_pixels(palette, transparency=3) == 255).all()
    assert (decode_pixels(palette, "GIF", transparency=3) == 255).all()
    half = Image.new("RGBA", (20, 20), (0, 0, 0, 128))
    assert np.abs(decode_pixels(half) - 127).max() <= 1


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations_give_their_first_frame(format_):
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    options = {"lossless": True} if format_ == "WEBP" else {}
    data = samples.encode(frames[0], format_, save_all=True, append_images=frames[1:], **options)
    pixels = decode_image(data, Resizing(8)).pixels
    assert pixels[..., 0].min() >= 250
    assert pixels[..., 2].max() <= 5


def test_large_jpegs_are_decoded_at_reduced_scale_and_stay_faithful():
    image = samples.make_image(7, 2000, 1500)
    data = samples.encode(image, "JPEG", quality=95)
    reduced = decode_image(data, Resizing(64))
    full = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR), int)
    assert (reduced.width, reduced.height) == (2000, 1500)
    assert np.abs(reduced.pixels.astype(int) - full).mean() < 1.5


def test_bombs_are_refused_before_they_are_decoded():
    data = samples.encode(Image.new("RGB", (20, 20)), "PNG")
    with pytest.raises(Image.DecompressionBombError, match="20 x 20 is more than the 399 pixels"):
        decode_image(data, Resizing(8), max_pixels=399)
    assert decode_image(data, Resizing(8), max_pixels=400).width == 20


def test_postscript_is_never_run():
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(Image.UnidentifiedImageError):
        decode_image(data, Resizing(8))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutated_files_give_pixels_or_an_exception_of_pillow(data):
    format_ = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"]))
    content = bytearray(samples.encode(samples.make_image(2), format_))
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        decoded = decode_image(bytes(content), Resizing(8))
    except Exception as error:  # noqa: BLE001 The property is about any exception.
        name, message = describe_error(error)
        assert name
        assert message.isprintable()
        assert len(message) <= 301
    else:
        assert decoded.pixels.shape == (8, 8, 3)
        assert decoded.pixels.dtype == np.uint8


def test_error_messages_have_no_addresses_and_a_bounded_length():
    with pytest.raises(Image.UnidentifiedImageError) as caught:
        decode_image(b"<html>not found</html>", Resizing(8))
    assert describe_error(caught.value) == ("UnidentifiedImageError", "an HTML page, not an image")
    assert len(describe_error(ValueError("x" * 10_000))[1]) == 301
    assert describe_error(ValueError("\x1b[31mred\x00")) == ("ValueError", "[31mred")


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 22), min_size=1, max_size=30, unique=True))
def test_chunks_keep_order_and_lose_nothing(photos, picks):
    files = sorted(str(file) for file in photos.rglob("*.*") if file.suffix != ".txt")
    (chunk,) = plan_chunks(0, [ImageRef(files[i]) for i in picks], 100, "")
    with ThreadPoolExecutor(3) as threads:
        decoded = decode_chunk(chunk, Resizing(8, "stretch"), threads, SharedPool().get())
    refs = [image.ref for image in decoded.images]
    assert sorted([*refs, *(failure.ref for failure in decoded.failures)]) == list(chunk.refs)
    assert refs == sorted(refs)
    for row, ref in zip(decoded.pixels, refs, strict=True):
        with open(ref.uri, "rb") as file:
            np.testing.assert_array_equal(row, decode_image(file.read(), Resizing(8)).pixels)


class MemoryReader:
    """Reads images from a dictionary, and knows of no file."""

    def __init__(self, images: dict[str, bytes]):
        self.images = images

    def read(self, ref: ImageRef, limit_bytes: int | None = None) -> ReadResult:  # noqa: ARG002
        if ref.uri in self.images:
            return ReadResult(self.images[ref.uri], None, 1)
        return ReadResult(b"", KeyError(ref.uri), 2)

    def local_path(self, ref: ImageRef) -> None:  # noqa: ARG002 As the protocol has it.
        return None


def test_images_come_from_the_reader_that_is_given():
    data = {"a": samples.encode(samples.make_image(1), "PNG"), "b": b"text"}
    chunk = Chunk(0, 0, "", tuple(ImageRef(uri, 7) for uri in "abc"))
    with ThreadPoolExecutor(3) as threads:
        pool = SharedPool().get()
        decoded = decode_chunk(chunk, Resizing(8, "stretch"), threads, pool, MemoryReader(data))
    np.testing.assert_array_equal(decoded.pixels, [decode_image(data["a"], Resizing(8)).pixels])
    (image,) = decoded.images
    sha256 = hashlib.sha256(data["a"]).hexdigest()
    assert image == ImageInfo(chunk.refs[0], sha256, 60, 40, "PNG", len(data["a"]))
    why = ("UnidentifiedImageError", "a text, not an image")
    undecoded = Failure(chunk.refs[1], "decode", *why, len(data["b"]))
    assert decoded.failures == [undecoded, Failure(chunk.refs[2], "read", "KeyError", "'c'", 7)]
    assert decoded.effort.read_retries == 4


def test_after_an_error_no_more_images_of_the_chunk_are_begun():
    """As after Ctrl-C in a notebook, which else would wait until all are decoded."""

    class BrokenReader:
        reads = 0

        def read(self, ref: ImageRef, limit_bytes: int | None = None) -> ReadResult:  # noqa: ARG002
            self.reads += 1
            if ref.uri == "0":
                raise RuntimeError("broken")
            time.sleep(0.001)  # The other thread goes on meanwhile.
            return ReadResult(b"no image", None, 0)

        def local_path(self, ref: ImageRef) -> str | None:  # noqa: ARG002
            return None

    reader = BrokenReader()
    chunk = Chunk(0, 0, "", tuple(ImageRef(str(i)) for i in range(5000)))
    with ThreadPoolExecutor(2) as threads, pytest.raises(RuntimeError, match="broken"):
        decode_chunk(chunk, Resizing(16), threads, SharedPool().get(), reader)
    assert reader.reads < 1000


def test_the_transform_decodes_with_the_pool_and_the_reader_that_it_is_given():
    data = {uri: samples.encode(samples.make_image(i), "PNG") for i, uri in enumerate("abcd")}
    chunks = [Chunk(0, i, "", (ImageRef(uri),)) for i, uri in enumerate(data)]
    expected = [(uri, decode_image(data[uri], Resizing(8, "pad")).pixels.sum()) for uri in data]
    with beam.Pipeline() as pipeline:
        decode = DecodeImages(Resizing(8, "pad"), SharedPool(1), MemoryReader(data))
        rows = (
            pipeline
            | beam.Create(chunks)
            | decode
            | beam.Map(lambda chunk: (chunk.images[0].ref.uri, chunk.pixels.sum()))
        )
        assert_that(rows, equal_to(expected))
    assert len(SharedPool(1).get().pids()) == 1
    SharedPool(1).get().close()


def test_importing_it_leaves_the_filters_of_warnings_alone():
    code = (
        "import warnings, numpy, PIL.Image\nbefore = list(warnings.filters)\n"
        "import beamvec.transforms.decoding.pixels\nassert warnings.filters == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def bomb(format_: str) -> bytes:
    """Return a small file whose header promises more pixels than are allowed."""
    if format_ in ("PNG", "TIFF"):
        options = {"compression": "group4"} if format_ == "TIFF" else {}
        return samples.encode(Image.new("1", (20_000, 10_000)), format_, **options)
    options = {"lossless": True} if format_ == "WEBP" else {}
    data = bytearray(samples.encode(samples.make_image(1), format_, **options))
    if format_ == "GIF":
        data[6:10] = struct.pack("<HH", 60_000, 60_000)
    else:
        (bits,) = struct.unpack_from("<I", data, 21)
        struct.pack_into("<I", data, 21, bits & ~0xFFFFFFF | 0xFFFFFFF)  # 16,384 x 16,384.
    return bytes(data)


@pytest.mark.parametrize("format_", ["PNG", "GIF", "TIFF", "WEBP"])
def test_bombs_of_every_format_are_refused(format_):
    data = bomb(format_)
    assert len(data) < 100_000
    with pytest.raises(Image.DecompressionBombError):
        decode_image(data, Resizing(8))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_jpeg_of_100_megapixels_is_decoded():
    data = samples.encode(Image.new("RGB", (10_000, 10_000), (200, 100, 50)), "JPEG")
    decoded = decode_image(data, Resizing(8))
    assert (decoded.width, decoded.height) == (10_000, 10_000)
    assert np.abs(decoded.pixels.astype(int) - [200, 100, 50]).max() <= 2
