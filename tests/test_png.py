"""PNG files: damage to their pixels is noticed, and nothing else of them is in the way."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import make_chunk, make_png
from PIL import ExifTags, Image, ImageCms

import samples
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.png import read_png_profile, reduce_png
from beamvec.transforms.decoding.resize import Resizing
from beamvec.transforms.decoding.unsupported import UnsupportedImageError

PIXELS = np.asarray(samples.make_image(4, 20, 12))
TEXT = make_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 3_000_000))
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def whole(data: bytes) -> np.ndarray:
    return decode_image(data, Resizing(12, "stretch", "nearest")).pixels


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_one_flipped_bit_gives_the_right_pixels_or_an_error(data):
    file = make_png(PIXELS, 8, 2, [TEXT], make_chunk(b"tEXt", b"a\0b") + make_chunk(b"IEND", b""))
    right = whole(file)
    flipped = bytearray(file)
    start = file.index(b"IDAT")
    flipped[data.draw(st.integers(start, len(file) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = whole(bytes(flipped))
    except Exception:  # noqa: BLE001 The property is about any exception.
        return
    np.testing.assert_array_equal(found, right)


def test_no_flipped_bit_of_the_pixels_goes_unnoticed():
    file = make_png(PIXELS, 8, 2)
    right, unchanged = whole(file), 0
    start = file.index(b"IDAT") + 4
    length = int.from_bytes(file[start - 8 : start - 4], "big")
    draw = random.Random(1)
    for at in range(start, start + length):
        flipped = bytearray(file)
        flipped[at] ^= 1 << draw.randrange(8)
        try:
            np.testing.assert_array_equal(whole(bytes(flipped)), right)
            unchanged += 1
        except OSError:
            continue
    assert unchanged < 5  # Bits that zlib does not look at.


def test_a_wrong_checksum_of_intact_pixels_is_no_failure():
    file = bytearray(make_png(PIXELS, 8, 2))
    end = file.index(b"IEND") - 4
    file[end - 1] ^= 1
    np.testing.assert_array_equal(whole(bytes(file)), whole(make_png(PIXELS, 8, 2)))


@pytest.mark.parametrize(
    "after",
    [
        TEXT,
        make_chunk(b"iTXt", b"XML\0\1\0\0\0" + b"no zlib"),
        b"\0\0\xff\xfftEXt cut",
        make_chunk(b"tRNS", b"\0\0\0\0\0\0"),
        make_chunk(b"PLTE", b"\0" * 7),
        b"garbage",
        b"\0",
    ],
)
def test_what_lies_behind_the_pixels_does_not_count(after):
    np.testing.assert_array_equal(
        whole(make_png(PIXELS, 8, 2, after=after)), whole(make_png(PIXELS, 8, 2))
    )


def test_texts_and_profiles_of_any_size_are_no_burden():
    profile = make_chunk(b"iCCP", b"big\0\0" + zlib.compress(bytes(3_000_000)))
    file = make_png(PIXELS, 8, 2, [TEXT, profile])
    np.testing.assert_array_equal(whole(file), whole(make_png(PIXELS, 8, 2)))
    assert len(reduce_png(file)) < len(make_png(PIXELS, 8, 2)) + 100


@pytest.mark.parametrize("is_behind", [False, True])
def test_the_orientation_is_found_wherever_it_stands(is_behind):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    block = exif.tobytes()
    text = b"Raw profile type exif\0\nexif\n  %8d\n" % len(block) + block.hex().encode()
    end = make_chunk(b"IEND", b"")
    for chunk in (
        make_chunk(b"eXIf", block.removeprefix(b"Exif\0\0")),
        make_chunk(b"tEXt", text),
    ):
        before, after = ([], chunk + end) if is_behind else ([chunk], end)
        image = decode_image(make_png(PIXELS, 8, 2, before, after), Resizing(8))
        assert (image.width, image.height) == (12, 20)


def test_the_picture_for_those_who_know_no_animations_is_decoded():
    frames = [samples.make_image(seed, 20, 12) for seed in (4, 5)]
    data = samples.encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert b"acTL" in data
    np.testing.assert_array_equal(whole(data), whole(make_png(PIXELS, 8, 2)))


def test_apple_s_own_kind_is_refused_by_name():
    file = make_png(PIXELS, 8, 2)
    changed = file[:8] + make_chunk(b"CgBI", b"\x50\0\x20\x06") + file[8:]
    with pytest.raises(UnsupportedImageError, match="iOS app"):
        whole(changed)


def test_profiles_are_found_up_to_a_bound():
    chunk = make_chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(PROFILE))
    assert read_png_profile(make_png(PIXELS, 8, 2, [chunk])) == PROFILE
    assert read_png_profile(make_png(PIXELS, 8, 2)) is None
    assert read_png_profile(make_png(PIXELS, 8, 2, [chunk[:-1] + b"!"])) is None
    bomb = make_chunk(b"iCCP", b"big\0\0" + zlib.compress(bytes(100_000_000)))
    assert len(read_png_profile(make_png(PIXELS, 8, 2, [bomb]))) == 16 << 20
    assert reduce_png(b"no PNG") == b"no PNG"
    assert read_png_profile(b"\xff\xd8 no PNG" + chunk) is None
    assert read_png_profile(b"no PNG: " + chunk) is None  # Though a chunk stands where one would.
