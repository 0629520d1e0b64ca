"""The images that an int8 model is calibrated on, and those that it is compared on: `take_sample`.

They are the first by the SHA-256 of their uris: the same input gives the same images, in whatever
order it is listed. Images of the same pixels, and what cannot be read or decoded, are passed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from beamvec.embeddings.fidelity import LEAST_COMPARED, LEAST_IMAGES
from beamvec.errors import ArgumentError
from beamvec.transforms.decoding.decode import READ_THREADS, decode_chunk
from beamvec.transforms.decoding.pool import DecoderPool
from beamvec.transforms.decoding.resize import Resizing
from beamvec.transforms.embedding.known_int8 import CALIBRATED, COMPARED
from beamvec.transforms.inputs.source import Source
from beamvec.transforms.records.chunks import Chunk
from beamvec.transforms.records.images import ImageRef


class Sample(NamedTuple):
    """Images to calibrate on, and others to compare on, each uint8 [n, S, S, 3] RGB."""

    calibration: npt.NDArray[np.uint8]
    compared: npt.NDArray[np.uint8]

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of the pixels to calibrate on."""
        return hash_pixels(self.calibration)


def hash_pixels(pixels: npt.NDArray[np.uint8]) -> str:
    """Return the SHA-256, in hex, of pixels."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def take_sample(
    source: Source, chosen: Sequence[ImageRef], resizing: Resizing, pool: DecoderPool
) -> Sample:
    """Decode the images of an input that `choose_images` chose, as many as are needed.

    A quarter, but 32 at least, are compared on, and the others, 224 at most, calibrated on.

    Raises:
        ArgumentError: if there are fewer than 64.
    """
    wanted = CALIBRATED + COMPARED
    refs = {ref.uri: ref for ref in chosen}
    found: dict[str, npt.NDArray[np.uint8]] = {}
    for start in range(0, len(refs), wanted):
        block = list(refs.values())[start : start + wanted]
        for pixels in _decode(source, block, resizing, pool):
            # Not by the files' bytes: copies of an image may differ in a note of theirs.
            found.setdefault(hash_pixels(pixels), pixels)
        if len(found) >= wanted:
            break
    if len(found) < LEAST_IMAGES:
        named = source.describe()[0] + (" and the others" if len(source.names) > 1 else "")
        raise ArgumentError(
            f"`precision=int8` needs {LEAST_IMAGES} different images at least, to calibrate on and "
            f"to compare on, and {named} has {len(found)} that can be decoded and look different; "
            "give others of their kind as `calibration_images`, best some 350, or use another "
            "precision"
        )
    pixels = np.stack(list(found.values())[:wanted])
    count = max(LEAST_COMPARED, len(pixels) // 4, len(pixels) - CALIBRATED)
    return Sample(pixels[count:], pixels[:count])


def _decode(
    source: Source, refs: Sequence[ImageRef], resizing: Resizing, pool: DecoderPool
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the pixels of images that can be decoded, in their order."""
    found = {}
    with ThreadPoolExecutor(READ_THREADS, "calibrate") as threads:
        # Those of a container are read as they lie there, run by run.
        for _, run in groupby(sorted(refs, key=source.run_key), source.run_key):
            chunk = Chunk(0, 0, "", tuple(run))
            decoded = decode_chunk(chunk, resizing, threads, pool, source.reader)
            for image, pixels in zip(decoded.images, decoded.pixels, strict=True):
                found[image.ref.uri] = pixels
    yield from (found[ref.uri] for ref in refs if ref.uri in found)
