"""Intact files of unusual layouts: their pixels are right, or they are refused by name."""

from __future__ import annotations

import io
import itertools
import json
import struct

import numpy as np
import pytest
from conftest import SHARED
from layouts import make_bmp, make_png, make_tiff, pack_bits
from PIL import Image, UnidentifiedImageError

import samples
from beamvec.transforms.decoding.bmp import rewrite_rle4
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.resize import Resizing
from beamvec.transforms.decoding.unsupported import UnsupportedImageError

SIZE = 16
GREY = np.arange(SIZE * SIZE).reshape(SIZE, SIZE)
COLOUR = np.random.default_rng(3).integers(0, 256, (SIZE, SIZE, 3))
HALF = np.full((SIZE, SIZE, 1), 128)
ON_WHITE = COLOUR * 128 / 255 + 127
PALETTE = np.stack([GREY.ravel(), 255 - GREY.ravel(), GREY.ravel() // 2])


def decode(data: bytes) -> np.ndarray:
    return decode_image(data, Resizing(SIZE)).pixels.astype(float)


def is_right(data: bytes, expected: np.ndarray) -> bool:
    """Tell whether a file has the pixels [16, 16] or [16, 16, 3]; False if it is refused by name.

    Other pixels, and errors that name nothing, fail the test.
    """
    expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, -1)
    try:
        found = decode(data)
    except (UnsupportedImageError, UnidentifiedImageError):
        return False
    assert np.abs(found - expected).max() <= 2
    return True


def grey_tiff(values: np.ndarray, bits: int, order: str, **tags: int) -> bytes:
    named = {"photometric": 262, "compression": 259, "format": 339}
    fields = {258: [bits], 262: [1], 277: [1]} | {named[n]: [v] for n, v in tags.items()}
    return make_tiff([values.tobytes()], SIZE, SIZE, fields, order)


@pytest.mark.parametrize(
    ("order", "compression", "photometric"), itertools.product("<>", (1, 8), (0, 1))
)
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_grey_tiff_of_any_depth(bits, order, compression, photometric):
    values = (GREY * 7 % 2**bits) << (0 if bits < 9 else bits - 8)
    values = np.minimum(values, 2**bits - 1)
    packed = values.astype(f"{order}u2").tobytes() if bits == 16 else pack_bits(values, bits)
    tags = {258: [bits], 262: [photometric], 277: [1], 259: [compression]}
    expected = values * 255 / (2**bits - 1)
    data = make_tiff([packed], SIZE, SIZE, tags, order)
    right = is_right(data, 255 - expected if photometric == 0 else expected)
    assert right or bits in (12, 16)


@pytest.mark.parametrize(("order", "compression"), itertools.product("<>", (1, 8)))
@pytest.mark.parametrize(
    ("dtype", "format_"), [("i1", 2), ("i2", 2), ("i4", 2), ("u4", 1), ("f4", 3)]
)
def test_tiff_of_other_sample_formats(dtype, format_, order, compression):
    top = 1.0 if dtype == "f4" else np.iinfo(dtype).max
    values = (GREY / 255 * top).astype(f"{order}{dtype}")
    bits = 8 * values.itemsize
    data = grey_tiff(values, bits, order, format=format_, compression=compression)
    right = is_right(data, GREY.astype(float))
    assert right == (dtype in ("i4", "f4") and (order, compression) != (">", 8))
    negative = grey_tiff(values, bits, order, format=format_, photometric=0)
    if dtype == "f4":
        with pytest.raises(UnsupportedImageError, match="float samples in which 0 is white"):
            decode(negative)


@pytest.mark.parametrize(
    ("order", "compression", "planar"), itertools.product("<>", (1, 8), (1, 2))
)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["rgb", "rgba", "cmyk", "grey-alpha", "palette-alpha"])
def test_tiff_of_several_samples_in_one_plane_or_several(kind, bits, order, compression, planar):
    samples_, photometric, expected = {
        "rgb": (COLOUR, 2, COLOUR),
        "rgba": (np.concatenate([COLOUR, HALF], -1), 2, ON_WHITE),
        "cmyk": (np.concatenate([COLOUR, HALF * 0], -1), 5, 255 - COLOUR),
        "grey-alpha": (np.concatenate([GREY[..., None], HALF], -1), 1, GREY * 128 / 255 + 127),
        "palette-alpha": (
            np.concatenate([GREY[..., None], HALF], -1),
            3,
            PALETTE.T[GREY] * 128 / 255 + 127,
        ),
    }[kind]
    if photometric == 3 and bits == 16:
        pytest.skip("a palette of 65,536 colours is no layout of TIFF")
    stored = (samples_ * (1 if bits == 8 else 257)).astype(f"{order}u{bits // 8}")
    count = stored.shape[-1]
    planes = [stored[..., i].tobytes() for i in range(count)] if planar == 2 else [stored.tobytes()]
    tags = {258: [bits] * count, 259: [compression], 262: [photometric], 277: [count]}
    tags[284] = [planar]
    if kind.endswith(("alpha", "rgba")):
        tags[338] = [2]
    if photometric == 3:
        tags[320] = (PALETTE * 257).ravel().tolist()
    right = is_right(make_tiff(planes, SIZE, SIZE, tags, order), expected)
    assert right or planar == 2 or (bits, kind) == (16, "grey-alpha")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_with_a_colour_map(bits, order):
    values = GREY * 7 % 2**bits
    colours = (PALETTE[:, : 2**bits] if bits < 8 else PALETTE) * 257
    tags = {258: [bits], 262: [3], 277: [1], 320: colours.ravel().tolist()}
    data = make_tiff([pack_bits(values, bits)], SIZE, SIZE, tags, order)
    assert is_right(data, colours.T[values] / 257)
    tags[320] = (colours // 257).ravel().tolist()
    with pytest.raises(UnsupportedImageError, match="colour map has 8-bit values"):
        decode(make_tiff([pack_bits(values, bits)], SIZE, SIZE, tags, order))


@pytest.mark.parametrize("tag", [254, 50706])
def test_the_thumbnail_of_a_raw_file_is_not_taken_for_the_picture(tag):
    tags = {258: [8], 262: [1], 277: [1], tag: [1]}
    with pytest.raises(UnsupportedImageError, match="whose first picture is a"):
        decode(make_tiff([GREY.astype("u1").tobytes()], SIZE, SIZE, tags))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_png_with_a_transparent_value(bits):
    values = (GREY % 2**bits) * (257 if bits == 16 else 1)
    clear = int(values[0, 1])
    data = make_png(values[..., None], bits, 0, [trns(clear)])
    scaled = values * 255 / (2**bits - 1)
    assert is_right(data, np.where(values == clear, 255, scaled))
    assert is_right(make_png(values[..., None], bits, 0), scaled)


def trns(*values: int) -> bytes:
    from layouts import make_chunk

    return make_chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


def test_coloured_png_with_a_transparent_value():
    clear = COLOUR[0, 0].tolist()
    data = make_png(COLOUR, 8, 2, [trns(*clear)])
    is_clear = (clear == COLOUR).all(-1, keepdims=True)
    assert is_right(data, np.where(is_clear, 255, COLOUR))
    data = make_png(COLOUR * 257, 16, 2, [trns(*(257 * c for c in clear))])
    assert is_right(data, np.where(is_clear, 255, COLOUR))
    assert is_right(make_png(COLOUR * 257, 16, 2), COLOUR)


MASKS = {
    "RGBX8888": (32, (0xFF000000, 0xFF0000, 0xFF00), 0),
    "XBGR8888": (32, (0xFF, 0xFF00, 0xFF0000), 0),
    "XRGB8888": (32, (0xFF0000, 0xFF00, 0xFF), 0),
    "GBRX8888": (32, (0xFF00, 0xFF000000, 0xFF0000), 0),
    "ABGR2:10:10:10": (32, (0x3FF, 0xFFC00, 0x3FF00000), 0),
    "BGRA8888": (32, (0xFF00, 0xFF0000, 0xFF000000), 0xFF),
    "RGB565": (16, (0xF800, 0x7E0, 0x1F), 0),
    "BGR565": (16, (0x1F, 0x7E0, 0xF800), 0),
    "ARGB1555": (16, (0x7C00, 0x3E0, 0x1F), 0x8000),
    "RGB444": (16, (0xF00, 0xF0, 0xF), 0),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("is_upright", [False, True])
def test_bmp_with_masks_in_any_order(name, is_upright):
    bits, masks, alpha = MASKS[name]
    packed = np.zeros((SIZE, SIZE), np.uint64)
    expected = np.zeros((SIZE, SIZE, 3))
    for i, mask in enumerate(masks):
        shift = (mask & -mask).bit_length() - 1
        top = mask >> shift
        values = np.rint(COLOUR[..., i] / 255 * top).astype(np.uint64)
        packed |= values << np.uint64(shift)
        expected[..., i] = values * 255 / top
    packed |= np.uint64(alpha)  # Opaque.
    lines = packed.astype(f"<u{bits // 8}")
    lines = lines if is_upright else lines[::-1]
    written = struct.pack("<4I", *masks, alpha) if alpha else struct.pack("<3I", *masks)
    height = -SIZE if is_upright else SIZE
    data = make_bmp(lines.tobytes(), SIZE, height, bits, 3, written)
    assert is_right(data, expected)
    with pytest.raises(OSError, match="image file is truncated"):
        decode(data[:-1])


def test_bmp_of_run_lengths():
    palette = b"".join(bytes([i, 255 - i, i // 2, 0]) for i in range(256))
    rows = [
        bytes([0, SIZE - 1]) + row[:15].tobytes() + b"\0\1" + row[15:].tobytes() + b"\0\0"
        for row in GREY.astype(np.uint8)[::-1]
    ]
    data = make_bmp(b"".join(rows) + b"\0\1", SIZE, SIZE, 8, 1, palette=palette)
    expected = np.stack([GREY // 2, 255 - GREY, GREY], -1)
    assert is_right(data, expected)


@pytest.mark.parametrize("width", [15, 16])
def test_bmp_of_run_lengths_of_4_bits(width):
    palette = b"".join(bytes([16 * i, 255 - 16 * i, 8 * i, 0]) for i in range(16))
    values = (GREY * 7 % 16)[:, :width].copy()
    values[:, 9:] = np.where(np.arange(width - 9) % 2, 3, 12)  # A run of two in turn.
    lines = []
    for row in values[::-1]:
        literal = bytes(row[i] << 4 | (row[i + 1] if i + 1 < 9 else 0) for i in range(0, 9, 2))
        run = bytes([width - 9, 12 << 4 | 3])
        lines.append(bytes([0, 9]) + literal + b"\0" + run + b"\0\0")
    lines[3] = bytes([0, 2, width, 0])  # A step over a line, which stays as it was.
    values[-4] = 0
    data = make_bmp(b"".join(lines) + b"\0\1", width, SIZE, 4, 2, palette=palette)
    expected = np.stack([values * 8, 255 - 16 * values, values * 16], -1)
    with Image.open(io.BytesIO(rewrite_rle4(data))) as image:
        found = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(found - expected).max() == 0
    assert decode_image(data, Resizing(width)).pixels.shape == (width, width, 3)


@pytest.mark.parametrize(("mode", "name"), [(0, "a bitmap"), (7, "multichannel")])
def test_photoshop_files_of_modes_that_would_be_wrong(mode, name):
    bits = 1 if mode == 0 else 8
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 1, SIZE, SIZE, bits, mode)
    data = header + bytes(4 + 4 + 4 + 2) + bytes(SIZE * SIZE * bits // 8)
    with pytest.raises(UnsupportedImageError, match=name):
        decode(data)
    grey = b"8BPS" + struct.pack(">H6xHIIHH", 1, 1, SIZE, SIZE, 8, 1) + bytes(14)
    assert is_right(grey + GREY.astype("u1").tobytes(), GREY.astype(float))


def jpeg2000(mode: str, **options) -> bytes:
    return samples.encode(samples.make_image(2, SIZE, SIZE).convert(mode), "JPEG2000", **options)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_ordinary_jpeg2000_files_are_decoded(mode):
    expected = np.asarray(samples.make_image(2, SIZE, SIZE).convert(mode).convert("RGB"), float)
    assert is_right(jpeg2000(mode), expected)
    assert is_right(jpeg2000(mode, no_jp2=True), expected)


@pytest.mark.parametrize(
    ("mode", "old", "new", "name"),
    [
        ("RGB", b"\0\0\0\x10\0\0", b"\0\0\0\x0e\0\0", "colour space 14"),
        ("RGBA", b"\0\0\0\0\0\1\0\1\0\0\0\2", b"\0\0\0\0\0\3\0\1\0\0\0\2", "another order"),
        ("RGBA", b"\0\3\0\1\0\0", b"\0\3\xff\xff\xff\xff", "another meaning"),
        ("LA", b"\0\1\0\1\0\0", b"\0\1\0\2\0\0", "another meaning"),
    ],
)
def test_jpeg2000_with_unusual_channels(mode, old, new, name):
    data = jpeg2000(mode)
    box = data.index(b"colr" if "space" in name else b"cdef")
    at = data.index(old, box)
    with pytest.raises(UnsupportedImageError, match=name):
        decode(data[:at] + new + data[at + len(old) :])


@pytest.mark.parametrize("is_raw", [False, True])
@pytest.mark.parametrize(("depth", "name"), [(15, "of 16 bits a sample"), (0x87, "signed")])
def test_jpeg2000_of_unusual_samples(is_raw, depth, name):
    data = jpeg2000("RGB", no_jp2=is_raw)
    at = data.index(b"\xff\x4f\xff\x51") + 42
    changed = bytearray(data)
    for i in range(3):
        changed[at + 3 * i] = depth
    with pytest.raises(UnsupportedImageError, match=name):
        decode(bytes(changed))


@pytest.mark.skipif(not (SHARED / "data/cases").is_dir(), reason="needs the shared cases")
def test_the_shared_cases_are_right_or_refused():
    folder = SHARED / "data" / "cases"
    cases = json.loads((folder / "cases.json").read_text())
    means = {name: case["right"] for name, case in cases.items() if isinstance(case["right"], list)}
    assert len(means) > 5
    for name, halves in means.items():
        try:
            pixels = decode_image((folder / name).read_bytes(), Resizing(224, interpolation="box"))
        except UnsupportedImageError:
            continue
        found = [half.mean((0, 1)) for half in np.split(pixels.pixels, 2, axis=1)]
        assert np.abs(np.subtract(found, halves)).max() < 4, name
