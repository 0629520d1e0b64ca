"""`beamvec` with decoders that decode JPEGs in full: what `large_images.py` compares with.

python benchmarks/full_decode.py extract --input DIR --output DIR
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from unittest import mock

from PIL import JpegImagePlugin

from beamvec.transforms.decoding.pixels import DecodedImage
from beamvec.transforms.decoding.pixels import decode_image as decode_reduced
from beamvec.transforms.decoding.resize import Resizing


def decode_image(
    data: bytes, resizing: Resizing, before_large: Callable[[int], None], max_pixels: int
) -> DecodedImage:
    """Decode an image as `decode_image` of `pixels` does, but at full scale."""
    with mock.patch.object(JpegImagePlugin.JpegImageFile, "draft"):
        return decode_reduced(data, resizing, before_large, max_pixels)


def main() -> int:
    """Run beamvec with these decoders."""
    from beamvec.pipeline.commands.main import main as beamvec
    from beamvec.pipeline.commands.main import silence

    silence()
    from beamvec.pipeline.run import launch
    from beamvec.transforms.decoding.pool import SharedPool

    pool = SharedPool(decoder="full_decode:decode_image")
    with mock.patch.object(launch, "SharedPool", return_value=pool):
        return beamvec()


if __name__ == "__main__":
    sys.exit(main())
