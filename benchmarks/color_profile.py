"""What ignoring a colour profile costs: cosine of embeddings to those of the true colours.

    python benchmarks/color_profile.py --images DIR [--model DIR] [--count 200]

Photographs are taken as sRGB, converted to wider colours by a profile that is put into the file,
and embedded with `--color-profile ignore` and `srgb`.
"""

from __future__ import annotations

import argparse
import io
import struct
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

import measure
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.resize import make_resizing
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model import load_model
from measure import Report

_PRIMARIES = {
    "Display P3": (
        (0.51512, 0.24120, -0.00105),
        (0.29198, 0.69225, 0.04189),
        (0.15710, 0.06657, 0.78407),
    ),
    "Adobe RGB": (
        (0.60974, 0.31111, 0.01947),
        (0.20528, 0.62567, 0.06087),
        (0.14919, 0.06322, 0.74457),
    ),
}
"""Red, green and blue as XYZ under D50, of the published profiles."""


def make_profile(primaries: tuple[tuple[float, ...], ...]) -> bytes:
    """Return sRGB's profile with other primaries; the curves stay."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for i in range(int.from_bytes(data[128:132], "big")):
        name, offset, _ = struct.unpack_from(">4sII", data, 132 + 12 * i)
        if name in (b"rXYZ", b"gXYZ", b"bXYZ"):
            values = primaries[b"rgb".index(name[:1])]
            struct.pack_into(">3i", data, offset + 8, *(round(v * 65536) for v in values))
    return bytes(data)


def run(folder: str, handle: str, count: int) -> Report:
    """Run the benchmark."""
    report = Report("color_profile", "cosine to the embeddings of the true colours")
    model = load_model(ModelConfig(handle, engine="tensorflow"))
    files = sorted(Path(folder).rglob("*.jpg"))[
        :: max(1, len(list(Path(folder).rglob("*.jpg"))) // count)
    ]
    images = [Image.open(file).convert("RGB") for file in files[:count]]
    report.notes.append(f"{len(images)} photographs, model {Path(handle).name}")
    resizing = make_resizing(model.spec)
    truth = _embed(model, [decode_image(_save(image), resizing).pixels for image in images])
    srgb = ImageCms.createProfile("sRGB")
    for name, primaries in _PRIMARIES.items():
        profile = make_profile(primaries)
        wide = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = [ImageCms.profileToProfile(image, srgb, wide) for image in images]
        data = [_save(image, icc_profile=profile) for image in converted]
        for way in ("ignore", "srgb"):
            start = time.perf_counter()
            asked = resizing._replace(color_profile=way)
            pixels = [decode_image(each, asked).pixels for each in data]
            took = (time.perf_counter() - start) / len(data)
            cosines = (_embed(model, pixels) * truth).sum(1)
            report.add(f"{name}, {way}: mean", "cosine", [float(cosines.mean())])
            report.add(f"{name}, {way}: least", "cosine", [float(cosines.min())])
            report.add(f"{name}, {way}: decoding", "ms", [1000 * took])
    return report


def _save(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, **options)
    return buffer.getvalue()


def _embed(model: object, pixels: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    vectors = model.embed_pixels(np.stack(pixels))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True, metavar="DIR")
    parser.add_argument("--model", required=True, metavar="DIR", help="a trained SavedModel")
    parser.add_argument("--count", type=int, default=200)
    args = parser.parse_args()
    report = run(args.images, args.model, args.count)
    print(measure.format_machine(measure.describe_machine()))
    print(measure.format_report(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
