"""What a file is that no decoder here knows, by its first bytes."""

from __future__ import annotations

import re
from typing import NamedTuple


class _Kind(NamedTuple):
    """A kind of file: how it starts, what it is, what to do about it."""

    start: re.Pattern[bytes]
    what: str
    remedy: str = ""


_OTHER_IMAGE = "convert it to an ordinary JPEG or PNG"
_TO_PNG = "render it to PNG first"
_FRAMES = "extract its frames first"
_BROKEN = "that cannot be opened: its header is damaged"
_MARK = rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,300}>\s*)?(?:<!--.{0,500}?-->\s*)?"
"""What may stand before the first tag of a page."""


def _kind(start: bytes, what: str, remedy: str = "") -> _Kind:
    return _Kind(re.compile(b"(?s)" + start), what, remedy)


def _box(brands: bytes, what: str, remedy: str) -> _Kind:
    """Return a kind of file in boxes, by the brands that it starts with."""
    return _kind(rb".{4}ftyp(?:" + brands + rb")", what, remedy)


_KINDS = (
    _kind(rb"version https://git-lfs", "a Git LFS pointer", "fetch the image with `git lfs pull`"),
    _kind(_MARK + rb"(?i:<!doctype\s+html|<html|<head|<body)", "an HTML page, not an image"),
    _kind(_MARK + rb"(?:<!DOCTYPE svg[^>]{0,300}>\s*)?<svg", "an SVG drawing", _TO_PNG),
    _kind(rb"\s*<\?xml", "an XML document, such as a store's error message"),
    _kind(rb"\s*[{\[]\s*[\"{\[\]}]", "a JSON document, such as a server's error message"),
    _kind(rb"%PDF", "a PDF document", _TO_PNG),
    _kind(rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file, which would run a program", _TO_PNG),
    _box(rb"hei[cxms]|hev[cxms]|mif1|msf1", "a HEIF image (HEIC)", "install beamvec[heif]"),
    _box(rb"avi[fs]", "an AVIF image, which this Pillow cannot read", "install a newer Pillow"),
    _box(rb"crx ", "a camera's raw file (Canon CR3)", _OTHER_IMAGE),
    _box(rb"", "a film (MP4 or QuickTime)", _FRAMES),
    _kind(rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n", "a JPEG XL image", "install beamvec[jxl]"),
    _kind(rb".{128}DICM", "a DICOM image", "convert it, for instance with pydicom"),
    _kind(rb"\xff\xd8\xff", f"a JPEG {_BROKEN}"),
    _kind(rb"\x89PNG\r\n\x1a\n", f"a PNG {_BROKEN}"),
    _kind(rb"GIF8[79]a", f"a GIF {_BROKEN}"),
    _kind(rb"RIFF.{4}WEBP", f"a WebP image {_BROKEN}"),
    _kind(rb"\xff\x4f\xff\x51|\x00\x00\x00\x0cjP  ", f"a JPEG 2000 image {_BROKEN}"),
    _kind(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00", f"a BMP {_BROKEN}"),
    _kind(rb"RIFF.{4}AVI |\x1aE\xdf\xa3", "a film (AVI, Matroska or WebM)", _FRAMES),
    _kind(rb"FUJIFILMCCD-RAW|IIRO|IIRS|IIU\x00|\x00MRM", "a camera's raw file", _OTHER_IMAGE),
    _kind(rb"\x00\x05\x16\x07", "an AppleDouble file of macOS (`._name`), not an image"),
    _kind(rb"v/1\x01|#\?RADIANCE|#\?RGBE", "an HDR image (OpenEXR or Radiance)", _OTHER_IMAGE),
    _kind(rb"SIMPLE  =", "a FITS image", _OTHER_IMAGE),
    _kind(rb"gimp xcf", "a GIMP file", _OTHER_IMAGE),
    _kind(rb"II\xbc\x01", "a JPEG XR image", _OTHER_IMAGE),
    _kind(rb"PK\x03\x04", "a zip archive", "read it with --input-zip, or unpack it"),
    _kind(rb".{257}ustar", "a tar archive", "read it with --input-tar, or unpack it"),
    _kind(rb"PAR1", "a Parquet file", "read it with --input-parquet or --manifest"),
    _kind(rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf", "a compressed file", "unpack it"),
    _kind(rb"\x93NUMPY|\x89HDF|SQLite format 3", "a data file (NumPy, HDF5 or SQLite)"),
    _kind(rb"\x00+\Z", "nothing but zero bytes: its content was lost"),
    _kind(rb"[\t\n\r\x20-\x7e]+\Z", "a text, not an image"),
)
"""In order: the first that matches counts."""

_HEAD_BYTES = 1024
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SOF = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7]")
_JPEG_KINDS = {0xC3: "lossless", 0xF7: "JPEG-LS"} | dict.fromkeys(
    (0xC5, 0xC6, 0xC7), "hierarchical"
)


def explain_unidentified(data: bytes) -> str:
    """Say what a file is that Pillow cannot open, and what would read it.

    >>> explain_unidentified(b"version https://git-lfs.github.com/spec/v1")
    'a Git LFS pointer; fetch the image with `git lfs pull`'
    """
    head = data[:_HEAD_BYTES]
    what, remedy = _identify(head, data)
    return f"{what}; {remedy}" if remedy else what


def _identify(head: bytes, data: bytes) -> tuple[str, str]:
    if head.startswith(b"\xff\xd8") and (jpeg := name_jpeg(data)):
        return jpeg, _OTHER_IMAGE
    if head.startswith(_TIFF):
        what = "a TIFF file of a layout that Pillow does not know, or with a damaged header"
        return what, "convert it to 8-bit RGB"
    if head.startswith(b"8BPS"):
        bits = int.from_bytes(data[22:24], "big")
        what = f"a Photoshop file of {bits} bits, or of a mode that Pillow does not know"
        return what, _OTHER_IMAGE
    kinds = (kind for kind in _KINDS if kind.start.match(head))
    kind = next(kinds, None)
    return (kind.what, kind.remedy) if kind else ("cannot identify image file", "")


def name_jpeg(data: bytes) -> str | None:
    """Name a kind of JPEG that Pillow does not read, by its frame header (ITU-T T.81, B.2.2)."""
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        if _SOF.match(data, at):
            if kind := _JPEG_KINDS.get(data[at + 1]):
                return f"a JPEG of the kind {kind}"
            return f"a {data[at + 4]}-bit JPEG" if data[at + 4] != 8 else None
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return None
