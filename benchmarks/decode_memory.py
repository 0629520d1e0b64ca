"""Memory of decoding one large image, against what its decoder says that it takes.

    python benchmarks/decode_memory.py [--megapixels 16]

A pool lets images be decoded together as long as what they say fits (`places.ROOM_BYTES`), so the
measured rise must not be above it by much. Each image is decoded in a process of its own; on Linux.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import measure
from measure import Goal, Report

_SLACK_BYTES = 40e6
"""What a decoder has beside its image: the file, the allocator's rest."""


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        format: Pillow's name.
        mode: of the picture.
        options: for saving.
    """

    format: str
    mode: str
    options: dict[str, object]


_KINDS = {
    "PNG, RGB": Kind("PNG", "RGB", {"compress_level": 1}),
    "PNG, RGBA": Kind("PNG", "RGBA", {"compress_level": 1}),
    "PNG, 16-bit grey": Kind("PNG", "I;16", {"compress_level": 1}),
    "JPEG": Kind("JPEG", "RGB", {}),
    "JPEG, progressive": Kind("JPEG", "RGB", {"progressive": True}),
    "JPEG, progressive 4:4:4": Kind("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    "JPEG, progressive CMYK": Kind("JPEG", "CMYK", {"progressive": True}),
    "WebP": Kind("WEBP", "RGB", {"method": 0}),
    "JPEG 2000": Kind("JPEG2000", "RGB", {}),
    "AVIF": Kind("AVIF", "RGB", {"speed": 10}),
    "TIFF, deflate": Kind("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}),
    "TIFF, float": Kind("TIFF", "F", {}),
    "GIF": Kind("GIF", "P", {}),
    "BMP": Kind("BMP", "RGB", {}),
}


def run(megapixels: float) -> Report:
    """Run the benchmark."""
    report = Report("decode_memory", "peak memory of a decoder above what it takes at rest")
    side = round((megapixels * 1e6) ** 0.5)
    report.notes.append(f"images of {side} x {side} pixels")
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in _KINDS.items():
            file = Path(folder, "image")
            _write(file, kind, side)
            command = [sys.executable, __file__, "--decode", str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            told, taken = map(float, done.stdout.split())
            report.add(f"{name}: told", "MB", [told / 1e6])
            report.add(f"{name}: measured", "MB", [taken / 1e6])
            report.add_ratio(
                f"{name}: measured / told",
                [max(0.0, taken - _SLACK_BYTES)],
                [max(told, 1e6)],
                Goal("<=", 1.05 if told else 40),
            )
    return report


def _write(file: Path, kind: Kind, side: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    image = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
    if kind.mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(kind.mode)
    image.save(file, kind.format, **kind.options)


def _decode(path: str) -> None:
    """Print what the decoder tells and what it takes, in bytes."""
    from beamvec.transforms.decoding.pixels import decode_image
    from beamvec.transforms.decoding.resize import Resizing, choose_resizer

    Image.MAX_IMAGE_PIXELS = None
    data = Path(path).read_bytes()
    small = io.BytesIO()
    Image.new("RGB", (8, 8)).save(small, "PNG")
    resizing = Resizing(224, resizer=choose_resizer())
    decode_image(small.getvalue(), resizing)
    before = _peak_bytes()
    told: list[int] = []
    decode_image(data, resizing, told.append)
    print(sum(told), _peak_bytes() - before)


def _peak_bytes() -> int:
    """Return the peak memory of this process; `getrusage` would count its parent's until `exec`."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> int:
    """Run it, or decode an image in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, default=16)
    parser.add_argument("--decode", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.decode:
        _decode(args.decode)
        return 0
    report = run(args.megapixels)
    print(measure.format_machine(measure.describe_machine()))
    print(measure.format_report(report))
    return 0 if all(figure.is_met is not False for figure in report.figures) else 1


if __name__ == "__main__":
    sys.exit(main())
