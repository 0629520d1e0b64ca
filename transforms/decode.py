"""From paths to pixels: reading and decoding the images of a chunk, `DecodeImages`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection

from transforms import storage
from transforms.coders import InProcessCoder
from transforms.decoders import DecoderError, DecoderPool, shared_pool
from transforms.pixels import describe_error
from transforms.records import Chunk, DecodedChunk, Effort, Failure, ImageInfo, ImageRef
from transforms.settings import Resize

READ_THREADS = 16
"""Images read at the same time by each bundle, so that slow storage does not starve the model."""


class _Outcome(NamedTuple):
    """An image or a failure, whichever it came to."""

    image: ImageInfo | None
    failure: Failure | None
    effort: Effort


def _decode_ref(
    ref: ImageRef, out: npt.NDArray[np.uint8], size: int, resize: Resize, decoders: DecoderPool
) -> _Outcome:
    """Read and decode one image into `out`, uint8 [S, S, 3] RGB."""
    start = time.perf_counter()
    data, error, retries = storage.try_read(ref.uri)
    effort = Effort(read_s=time.perf_counter() - start, read_retries=retries)
    if error:
        failure = Failure(ref, "read", *describe_error(error), ref.size_bytes)
        return _Outcome(None, failure, effort)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        decoded, decode_s = decoders.decode(data, size, resize)
    except DecoderError as failed:
        failure = Failure(ref, "decode", failed.error_type, str(failed), len(data))
        return _Outcome(None, failure, effort + Effort(decode_s=failed.decode_s))
    out[:] = decoded.pixels
    info = ImageInfo(ref, sha256, decoded.width, decoded.height, decoded.format, len(data))
    return _Outcome(info, None, effort + Effort(decode_s=decode_s))


def decode_chunk(
    chunk: Chunk, size: int, resize: Resize, threads: ThreadPoolExecutor, decoders: DecoderPool
) -> DecodedChunk:
    """Read and decode the images of a chunk, several at a time; the result keeps their order.

    Args:
        chunk: the images.
        size: S, the target's width and height in pixels.
        resize: see `transforms.pixels.decode_image`.
        threads: where the images are read.
        decoders: where they are decoded.
    """
    pixels = np.empty((len(chunk.refs), size, size, 3), np.uint8)
    found: dict[int, _Outcome] = {}
    positions = iter(range(len(chunk.refs)))  # Each thread takes the next one when it is free.

    def decode_next() -> None:
        for i in positions:
            found[i] = _decode_ref(chunk.refs[i], pixels[i], size, resize, decoders)

    for lane in [threads.submit(decode_next) for _ in range(READ_THREADS)]:
        lane.result()
    outcomes = [found[i] for i in range(len(chunk.refs))]
    decoded = np.array([outcome.image is not None for outcome in outcomes], bool)
    return DecodedChunk(
        chunk=chunk,
        pixels=pixels if decoded.all() else pixels[decoded],
        images=[outcome.image for outcome in outcomes if outcome.image],
        failures=[outcome.failure for outcome in outcomes if outcome.failure],
        effort=sum((outcome.effort for outcome in outcomes), Effort()),
    )


class DecodeImages(beam.PTransform[Any, Any]):
    """Read, decode and resize: `Chunk` -> `DecodedChunk` with uint8 [n, S, S, 3] RGB pixels."""

    def __init__(self, size: int, resize: Resize):
        super().__init__()
        self._size = size
        self._resize = resize

    def expand(self, chunks: PCollection[Chunk]) -> PCollection[DecodedChunk]:
        """Apply the transform."""
        return chunks | "Decode" >> beam.ParDo(_DecodeFn(self._size, self._resize))


class _DecodeFn(beam.DoFn):
    """Keeps a thread pool."""

    def __init__(self, size: int, resize: Resize):
        self._size = size
        self._resize = resize
        self._images_in = Metrics.counter("beamvec", "images_in")
        self._images_decoded = Metrics.counter("beamvec", "images_decoded")
        self._images_failed = Metrics.counter("beamvec", "images_failed")

    def setup(self) -> None:
        self._threads = ThreadPoolExecutor(READ_THREADS, "decode")
        shared_pool().start()  # They get ready while the model is loaded.

    def process(self, chunk: Chunk) -> Iterator[DecodedChunk]:
        decoded = decode_chunk(chunk, self._size, self._resize, self._threads, shared_pool())
        self._images_in.inc(len(chunk.refs))
        self._images_decoded.inc(len(decoded.images))
        self._images_failed.inc(len(decoded.failures))
        yield decoded

    def teardown(self) -> None:
        self._threads.shutdown()


beam.coders.registry.register_coder(DecodedChunk, InProcessCoder)
