"""JPEG XL: its size is known before its plugin decodes it, and damage is called by name."""

from __future__ import annotations

import io
import random

import pytest
from PIL import Image

import samples
from beamvec.transforms.decoding.jxl import is_jxl, read_jxl_size
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.resize import Resizing

pytest.importorskip("pillow_jxl", reason="needs the extra jxl")


def encode(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JXL", effort=1, **options)
    return buffer.getvalue()


def test_the_size_is_read_from_the_header():
    rng = random.Random(0)
    for index in range(100):
        width = rng.choice([8 * rng.randint(1, 40), rng.randint(1, 700), rng.randint(1, 2000)])
        height = rng.choice([width, width * 3 // 4 or 1, rng.randint(1, 300)])
        data = encode(Image.new("RGB", (width, height)), use_container=bool(index % 2))
        assert is_jxl(data)
        assert read_jxl_size(data) == (width, height)


def test_a_bomb_is_refused_and_a_large_one_waits_before_it_is_decoded(monkeypatch):
    from pillow_jxl import JpegXLImagePlugin

    data = encode(Image.new("RGB", (1000, 1000)))
    told: list[int] = []
    monkeypatch.setattr(JpegXLImagePlugin, "Decoder", lambda **_: pytest.fail("it was opened"))
    with pytest.raises(Image.DecompressionBombError, match="1000 x 1000 is more than the 5,000"):
        decode_image(data, Resizing(8), told.append, max_pixels=5_000)
    monkeypatch.undo()
    decode_image(data, Resizing(8), told.append)
    assert told == [20 * 1000 * 1000]


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: data[:30], bytes.upper])
def test_a_damaged_one_is_called_so(damage):
    data = damage(encode(samples.make_image(0, 90, 60)))
    with pytest.raises(OSError, match="this JPEG XL file is damaged or ends too early"):
        decode_image(data, Resizing(8))


def test_what_only_begins_like_one_has_no_size():
    assert read_jxl_size(b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20)) == (0, 0)
    with pytest.raises(OSError, match="JPEG XL"):
        decode_image(b"\xff\x0a", Resizing(8))
