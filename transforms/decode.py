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
from transforms.pixels import DecodedImage, describe_error
from transforms.records import Chunk, DecodedChunk, Effort, Failure, ImageInfo, ImageRef
from transforms.settings import Resize

READ_THREADS = 16
"""Images read at the same time by each bundle, so that slow storage does not starve the model."""

BATCH_IMAGES = 16
BATCH_BYTES = 1 << 16
"""What a decoder is sent at a time: of tiny images several, as a message costs half of what one
of them does; large ones alone, so that all decoders are busy."""


class _File(NamedTuple):
    """What came of reading an image, and its place in the chunk."""

    position: int
    ref: ImageRef
    data: bytes
    error: Exception | None


def _read_batch(images: Iterator[tuple[int, ImageRef]]) -> tuple[list[_File], Effort]:
    """Read the next images, until there are enough for a message to a decoder."""
    start = time.perf_counter()
    batch: list[_File] = []
    size_bytes, retries = 0, 0
    for position, ref in images:
        read = storage.try_read(ref.uri)
        batch.append(_File(position, ref, read.data, read.error))
        size_bytes += len(read.data)
        retries += read.retries
        if len(batch) == BATCH_IMAGES or size_bytes >= BATCH_BYTES:
            break
    return batch, Effort(read_s=time.perf_counter() - start, read_retries=retries)


def _decode_batch(
    batch: list[_File], pixels: npt.NDArray[np.uint8], resize: Resize, decoders: DecoderPool
) -> tuple[dict[int, ImageInfo | Failure], float]:
    """Return what the files of a batch came to, by their place, and the seconds of decoding."""
    read = [file for file in batch if not file.error]
    results, decode_s = decoders.decode_batch([f.data for f in read], pixels.shape[1], resize)
    outcomes: dict[int, ImageInfo | Failure] = {
        file.position: Failure(file.ref, "read", *describe_error(file.error), file.ref.size_bytes)
        for file in batch
        if file.error
    }
    for file, decoded in zip(read, results, strict=True):
        outcomes[file.position] = _describe(file, decoded, pixels[file.position])
    return outcomes, decode_s


def _describe(
    file: _File, decoded: DecodedImage | DecoderError, out: npt.NDArray[np.uint8]
) -> ImageInfo | Failure:
    """Copy what was decoded into `out`, uint8 [S, S, 3] RGB, and say what it is."""
    if isinstance(decoded, DecoderError):
        return Failure(file.ref, "decode", decoded.error_type, str(decoded), len(file.data))
    out[:] = decoded.pixels
    sha256 = hashlib.sha256(file.data).hexdigest()
    width, height, format_ = decoded.width, decoded.height, decoded.format
    return ImageInfo(file.ref, sha256, width, height, format_, len(file.data))


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
    found: dict[int, ImageInfo | Failure] = {}
    images = iter(enumerate(chunk.refs))  # Each thread takes the next ones when it is free.

    def decode_next() -> Effort:
        total = Effort()
        while True:
            batch, effort = _read_batch(images)
            if not batch:
                return total
            outcomes, decode_s = _decode_batch(batch, pixels, resize, decoders)
            found.update(outcomes)
            total += effort + Effort(decode_s=decode_s)

    lanes = [threads.submit(decode_next) for _ in range(READ_THREADS)]
    effort = sum((lane.result() for lane in lanes), Effort())
    outcomes = [found[i] for i in range(len(chunk.refs))]
    decoded = np.array([isinstance(outcome, ImageInfo) for outcome in outcomes], bool)
    return DecodedChunk(
        chunk=chunk,
        pixels=pixels if decoded.all() else pixels[decoded],
        images=[outcome for outcome in outcomes if isinstance(outcome, ImageInfo)],
        failures=[outcome for outcome in outcomes if isinstance(outcome, Failure)],
        effort=effort,
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
