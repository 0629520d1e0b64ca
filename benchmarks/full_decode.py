"""`beamvec` with decoders that decode JPEGs in full: what `large_images.py` compares with.

python benchmarks/full_decode.py extract --input DIR --output DIR
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from unittest import mock

from PIL import JpegImagePlugin

from transforms.pixels import DecodedImage
from transforms.pixels import decode_image as decode_reduced
from transforms.settings import Resize, count_cpus


def decode_image(
    data: bytes, size: int, resize: Resize, before_large: Callable[[], None]
) -> DecodedImage:
    """Decode an image as `transforms.pixels.decode_image` does, but at full scale."""
    with mock.patch.object(JpegImagePlugin.JpegImageFile, "draft"):
        return decode_reduced(data, size, resize, before_large)


def main() -> int:
    """Run beamvec with these decoders."""
    from pipeline.main import main as beamvec
    from pipeline.main import silence

    silence()
    from transforms import decode
    from transforms.decoders import DecoderPool

    pool = functools.cache(lambda: DecoderPool(count_cpus(), "full_decode:decode_image"))
    with mock.patch.object(decode, "shared_pool", pool):
        return beamvec()


if __name__ == "__main__":
    sys.exit(main())
