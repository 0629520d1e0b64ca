"""Layouts of intact files that Pillow decodes to other pixels than are in them.

Each is told by the file's header and refused by name: a wrong embedding is worse than a failure.
What can be put right in a line or two is, in `colors`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from PIL import Image, TiffImagePlugin

from beamvec.transforms.decoding.content import name_jpeg
from beamvec.transforms.decoding.unsupported import UnsupportedImageError

_CONVERT = "convert it to an ordinary RGB file"
_JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"

_CMYK, _SRGB, _GREY, _SYCC = 12, 16, 17, 18
"""Enumerated colour spaces of JPEG 2000, ISO/IEC 15444-1, table I.10."""

_PSD_MODES = {0: "a bitmap", 7: "multichannel"}


def refuse_layout(image: Image.Image, data: bytes) -> None:
    """Refuse an opened file whose pixels Pillow would not get right.

    Args:
        image: opened, not loaded.
        data: the content of the file.

    Raises:
        UnsupportedImageError: with the layout's name.
    """
    check = _CHECKS.get(image.format or "")
    what = check(image, data) if check else None
    if what:
        raise UnsupportedImageError(what, _CONVERT)


def _check_tiff(image: Image.Image, data: bytes) -> str | None:
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags = image.tag_v2
    if data[8:10] == b"CR" or 50706 in tags:  # Canon's CR2, or a tag DNGVersion.
        return "a camera's raw file, whose first picture is a preview"
    if tags.get(254, 0) & 1:  # NewSubfileType: of reduced resolution.
        return "a TIFF file whose first picture is a thumbnail"
    return _check_samples(image, tags, is_raw=tags.get(259, 1) == 1)


def _check_samples(
    image: Image.Image, tags: TiffImagePlugin.ImageFileDirectory_v2, is_raw: bool
) -> str | None:
    bits = max(tags.get(258, (1,)))
    kind = max(tags.get(339, (1,)))
    photometric = tags.get(262, 0)
    if kind == 2 and bits < 32:
        return f"a TIFF file with signed {bits}-bit samples"
    if kind == 1 and bits == 32:
        return "a TIFF file with unsigned 32-bit samples"
    if kind == 3 and photometric == 0:
        return "a TIFF file with float samples in which 0 is white"
    if bits == 32 and not is_raw and tags.prefix.startswith(b"MM"):
        return "a compressed big-endian TIFF file with 32-bit samples"
    is_odd = image.mode in ("LA", "PA") or 1 in tags.get(338, ())  # Alpha multiplied in.
    if tags.get(284, 1) == 2 and (is_odd or (is_raw and bits > 8)):
        return f"a TIFF file with a plane for each of its {bits}-bit samples"
    if bits == 16 and tags.get(266, 1) == 2:
        return "a TIFF file with 16-bit samples and bits in reversed order"
    if photometric == 3 and 0 < max(tags.get(320, (0,))) < 256:
        return "a TIFF file whose colour map has 8-bit values"
    return None


def _check_jpeg2000(image: Image.Image, data: bytes) -> str | None:  # noqa: ARG001
    if data.startswith(_JP2):
        what = _check_jp2_header(dict(_walk_boxes(data)).get(b"jp2h", b""))
        if what:
            return what
    start = data.find(_CODESTREAM)
    if start < 0:
        return None
    (count,) = struct.unpack_from(">H", data, start + 40)
    depths = data[start + 42 : start + 42 + 3 * count : 3]  # Of a byte each: sign, and bits - 1.
    if any(depth & 0x80 for depth in depths):
        return "a JPEG 2000 file with signed samples"
    bits = max((depth & 0x7F) + 1 for depth in depths)
    return f"a JPEG 2000 file of {bits} bits a sample" if count > 1 and bits > 8 else None


def _walk_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and content of each box; see ISO/IEC 15444-1, I.4."""
    at = 0
    while at + 8 <= len(data):
        length, type_ = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1 and at + 16 <= len(data):
            (length,), head = struct.unpack_from(">Q", data, at + 8), 16
        end = at + length if length else len(data)
        yield type_, data[at + head : end]
        at += max(head, end - at)


def _check_jp2_header(header: bytes) -> str | None:
    boxes = dict(_walk_boxes(header))
    (channels,) = struct.unpack_from(">H", boxes[b"ihdr"], 8)
    colours = boxes.get(b"colr", b"")
    space = int.from_bytes(colours[3:7], "big") if colours[:1] == b"\x01" else None
    if space not in (None, _CMYK, _SRGB, _GREY, _SYCC):
        return f"a JPEG 2000 file of colour space {space}"
    if b"pclr" in boxes:
        _entries, columns = struct.unpack_from(">HB", boxes[b"pclr"])
        depths = boxes[b"pclr"][3 : 3 + columns]
        mapped = b"".join(struct.pack(">HBB", 0, 1, i) for i in range(columns))
        if max(depths) > 7 or boxes.get(b"cmap", mapped) != mapped:
            return "a JPEG 2000 file with an unusual palette"
        channels = columns
    plain = [(i, 0, i + 1) for i in range(channels)]
    alpha = [*plain[:-1], (channels - 1, 1, 0)] if channels in (2, 4) and space != _CMYK else plain
    found = sorted(struct.iter_unpack(">HHH", boxes.get(b"cdef", b"\0\0")[2:])) or plain
    if found != alpha:
        return "a JPEG 2000 file with channels in another order, or of another meaning"
    return None


def _check_bmp(image: Image.Image, data: bytes) -> str | None:  # noqa: ARG001
    size, compression = struct.unpack_from("<I", data, 14)[0], struct.unpack_from("<I", data, 30)[0]
    if size == 64 and compression > 1:
        return "a BMP file of OS/2 with a compression of its own"
    return None


def _check_psd(image: Image.Image, data: bytes) -> str | None:  # noqa: ARG001
    mode = _PSD_MODES.get(int.from_bytes(data[24:26], "big"))
    return f"a Photoshop file whose mode is {mode}" if mode else None


_CHECKS = {
    "JPEG": lambda _, data: name_jpeg(data),
    "MPO": lambda _, data: name_jpeg(data),
    "TIFF": _check_tiff,
    "JPEG2000": _check_jpeg2000,
    "BMP": _check_bmp,
    "DIB": lambda image, data: _check_bmp(image, b"\0" * 14 + data),
    "PSD": _check_psd,
}
