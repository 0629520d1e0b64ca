"""What is no image, or of no known kind, is called what it is."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest
from PIL import UnidentifiedImageError

import samples
from beamvec.transforms.decoding.content import explain_unidentified
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.resize import Resizing
from beamvec.transforms.decoding.unsupported import UnsupportedImageError


def archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr(zipfile.ZipInfo("a.jpg"), b"x")
    else:
        with tarfile.open(fileobj=buffer, mode="w") as file:
            file.addfile(tarfile.TarInfo("a.jpg"), io.BytesIO())
    return buffer.getvalue()


def jpeg_of(precision: int = 8, frame: int = 0xC0) -> bytes:
    data = bytearray(samples.encode(samples.make_image(1, 16, 16), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = frame, precision
    return bytes(data)


FILES = {
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0": "a Git LFS pointer; fetch",
    b"<!DOCTYPE html>\n<html>": "an HTML page",
    b"\xef\xbb\xbf  <!-- x -->\n<HTML>": "an HTML page",
    b'<?xml version="1.0"?>\n<svg xmlns="x">': "an SVG drawing; render it",
    b"<svg width='3'>": "an SVG drawing",
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>': "an XML document",
    b'{"error": "not found"}': "a JSON document",
    b"%PDF-1.7": "a PDF document",
    b"\0\0\0\x1cftypheic" + bytes(40): "a HEIF image (HEIC); install beamvec[heif]",
    b"\0\0\0\x1cftypmp42" + bytes(40): "a film (MP4 or QuickTime); extract",
    b"\0\0\0\x1cftypcrx " + bytes(40): "a camera's raw file (Canon CR3)",
    b"\xff\x0a\xfa\x7f": "a JPEG XL image; install beamvec[jxl]",
    bytes(128) + b"DICM" + bytes(20): "a DICOM image; convert it",
    jpeg_of(12): "a 12-bit JPEG; convert it",
    jpeg_of(frame=0xC3): "a JPEG of the kind lossless",
    jpeg_of(frame=0xF7): "a JPEG of the kind JPEG-LS",
    b"\xff\xd8\xff\xe0garbage": "a JPEG that cannot be opened",
    b"\x89PNG\r\n\x1a\ngarbage": "a PNG that cannot be opened",
    b"GIF89a": "a GIF that cannot be opened",
    b"RIFF\0\0\0\0WEBPVP8 ": "a WebP image that cannot be opened",
    b"II*\0\x08\0\0\0\0\0": "a TIFF file of a layout",
    b"8BPS\0\1" + bytes(16) + b"\0\x10\0\3": "a Photoshop file of 16 bits",
    b"\0\x05\x16\x07" + bytes(20): "an AppleDouble file of macOS",
    archive("zip"): "a zip archive; read it with --input-zip",
    archive("tar"): "a tar archive; read it with --input-tar",
    b"PAR1" + bytes(9): "a Parquet file; read it with --input-parquet",
    b"\x1f\x8b\x08": "a compressed file",
    b"\x93NUMPY\1": "a data file",
    bytes(5000): "nothing but zero bytes",
    b"a.jpg,cat\n": "a text, not an image",
    b"\x01\x02\x03\x04\xff": "cannot identify image file",
}


@pytest.mark.parametrize("data", FILES, ids=[text[:30] for text in FILES.values()])
def test_it_is_called_what_it_is(data):
    assert explain_unidentified(data).startswith(FILES[data])


@pytest.mark.parametrize(
    "data",
    # Of the others Pillow or an extra knows the kind, and has words of its own for what is wrong.
    [data for data in FILES if data[:2] not in (b"RI", b"\xff\xd8", b"\xff\x0a")],
    ids=lambda data: repr(data[:12]),
)
def test_the_failure_says_so(data):
    with pytest.raises(UnidentifiedImageError) as caught:
        decode_image(data, Resizing(8))
    assert str(caught.value) == explain_unidentified(data)


@pytest.mark.parametrize(("precision", "frame"), [(12, 0xC0), (8, 0xC3), (8, 0xF7)])
def test_jpegs_of_other_kinds_are_named(precision, frame):
    data = jpeg_of(precision, frame)
    with pytest.raises(Exception, match=r"bit JPEG|JPEG of the kind") as caught:
        decode_image(data, Resizing(8))
    assert isinstance(caught.value, (UnidentifiedImageError, UnsupportedImageError))


def test_an_empty_file_is_called_empty():
    with pytest.raises(UnidentifiedImageError, match="the file is empty"):
        decode_image(b"", Resizing(8))
