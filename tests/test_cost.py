"""What decoding costs is told before it is spent."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import samples
from beamvec.transforms.decoding.cost import MAX_SCANS, estimate_bytes, refuse_scans
from beamvec.transforms.decoding.pixels import TURN_BYTES, decode_image
from beamvec.transforms.decoding.resize import Resizing
from beamvec.transforms.decoding.unsupported import UnsupportedImageError


def with_scans(count: int) -> bytes:
    """Return a progressive JPEG whose last scan comes again and again."""
    data = samples.encode(samples.make_image(1, 40, 40), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (count - data.count(b"\xff\xda")) + data[-2:]


def test_a_jpeg_of_many_scans_is_refused():
    refuse_scans(with_scans(MAX_SCANS))
    with pytest.raises(UnsupportedImageError, match=f"of {MAX_SCANS + 1} scans, more than"):
        decode_image(with_scans(MAX_SCANS + 1), Resizing(8))


def test_what_only_looks_like_scans_is_none():
    data = samples.encode(samples.make_image(1, 40, 40), "JPEG")
    text = b"\xff\xda" * 20_000
    comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
    refuse_scans(data[:2] + comment + data[2:] + text)
    assert decode_image(data[:2] + comment + data[2:] + text, Resizing(8)).width == 40


def test_other_formats_are_not_looked_through_for_scans():
    # Fill bytes that would be scans of a JPEG, uncompressed in a BMP.
    pixels = np.tile(np.frombuffer(b"\xff\xda\0", np.uint8), (40, 400, 1))
    data = samples.encode(Image.fromarray(pixels), "BMP")
    assert data.count(b"\xff\xda") + data.count(b"\xda\xff") > MAX_SCANS
    assert decode_image(data, Resizing(8)).width == 400


@pytest.mark.parametrize(
    ("format_", "mode", "options", "least"),
    [
        ("PNG", "RGB", {}, 4),
        ("PNG", "P", {}, 5),
        ("JPEG", "RGB", {"progressive": True}, 6),
        ("WEBP", "RGB", {}, 16),
        ("JPEG2000", "RGB", {}, 16),
        ("TIFF", "RGB", {}, 4),
    ],
)
def test_large_images_wait_for_their_turn_and_hold_no_pixels_before(
    format_, mode, options, least, monkeypatch
):
    # Of noise: a flat picture would be a file of a few bytes, but decoded as fast.
    image = Image.fromarray(np.zeros((3000, 3000, 3), np.uint8)).convert(mode)
    data = samples.encode(image, format_, **options)
    asked: list[int] = []
    loaded: list[int] = []
    load = Image.Image.load
    monkeypatch.setattr(Image.Image, "load", lambda self: loaded.append(len(asked)) or load(self))
    decode_image(data, Resizing(32), asked.append)
    assert asked[0] >= least * image.width * image.height
    assert asked[0] > TURN_BYTES
    assert loaded.count(0) == 0
    small = samples.encode(samples.make_image(1), format_, **options)
    decode_image(small, Resizing(32), asked.append)
    assert len(asked) == 1


def test_a_large_jpeg_of_one_scan_is_reduced_while_it_is_decoded():
    image = Image.open(io.BytesIO(samples.encode(Image.new("RGB", (4000, 4000)), "JPEG")))
    image.draft("RGB", (64, 64))
    assert estimate_bytes(image, 16_000_000) < TURN_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the peak of a process")
@pytest.mark.parametrize("mode", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(30_000, 1), (1, 30_000)])
def test_a_thin_image_takes_little_memory(mode, size, tmp_path):
    file = tmp_path / "thin.png"
    Image.new("RGB", size, (200, 60, 20)).save(file)
    code = (
        "import pathlib\n"
        "from beamvec.transforms.decoding.pixels import decode_image\n"
        "from beamvec.transforms.decoding.resize import Resizing\n"
        f"data = open({str(file)!r}, 'rb').read()\n"
        f"image = decode_image(data, Resizing(224, {mode!r}))\n"
        f"assert image.pixels[112, 112].tolist() == [200, 60, 20] or {mode == 'pad'}\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(status.partition('VmHWM:')[2].split()[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 200e6  # Of the whole process.
