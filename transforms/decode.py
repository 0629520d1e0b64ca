"""From paths to pixels: reading and decoding the images of a chunk, `DecodeImages`."""

from __future__ import annotations

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
from transforms.decoders import DecodedFile, DecoderPool, shared_pool
from transforms.pixels import DecodedImage, describe_error
from transforms.records import Chunk, DecodedChunk, Effort, Failure, ImageInfo, ImageRef
from transforms.settings import Resize

READ_THREADS = 16
"""Images read at the same time by each bundle, so that slow storage does not starve the model."""

BATCH_IMAGES = 64
BATCH_BYTES = 1 << 17
"""What a decoder is sent at a time: of tiny images many, as a message costs; large ones alone, so
that all decoders are busy."""


class _File(NamedTuple):
    """An image and its place in the chunk.

    Attributes:
        source: its content, or the path of a local file, which the decoder reads itself.
        error: why it has no content.
    """

    position: int
    ref: ImageRef
    source: bytes | str
    error: Exception | None = None


def _read(position: int, ref: ImageRef) -> tuple[_File, Effort]:
    start = time.perf_counter()
    read = storage.try_read(ref.uri)
    effort = Effort(read_s=time.perf_counter() - start, read_retries=read.retries)
    return _File(position, ref, read.data, read.error), effort


def _take_batch(
    images: Iterator[tuple[int, ImageRef]], decoders: DecoderPool
) -> tuple[list[_File], Effort]:
    """Take the next images, enough for a message to a decoder; read what it should not read."""
    batch: list[_File] = []
    size_bytes, total = 0, Effort()
    for position, ref in images:
        if storage.is_local(ref.uri) and not decoders.reads_slowly:
            batch.append(_File(position, ref, ref.uri))
            size_bytes += ref.size_bytes or 0
        else:
            file, effort = _read(position, ref)
            batch.append(file)
            size_bytes += len(file.source)
            total += effort
        if len(batch) == BATCH_IMAGES or size_bytes >= BATCH_BYTES:
            break
    return batch, total


def _decode_batch(
    batch: list[_File], pixels: npt.NDArray[np.uint8], resize: Resize, decoders: DecoderPool
) -> tuple[dict[int, ImageInfo | Failure], Effort]:
    """Return what the files of a batch came to, by their place, and what that took."""
    outcomes: dict[int, ImageInfo | Failure] = {}
    read: list[_File] = []
    for file in batch:
        if file.error:
            why = describe_error(file.error)
            outcomes[file.position] = Failure(file.ref, "read", *why, file.ref.size_bytes)
        else:
            read.append(file)
    found = decoders.decode_batch([file.source for file in read], pixels.shape[1], resize)
    read_s, decode_s = (sum(getattr(f, name) for f in found) for name in ("read_s", "decode_s"))
    total = Effort(read_s=read_s, decode_s=decode_s)
    for file, decoded in zip(read, found, strict=True):
        if decoded.result is None:  # Tried again here, where errors are told apart and retried.
            again, effort = _read(file.position, file.ref)
            more, more_effort = _decode_batch([again], pixels, resize, decoders)
            outcomes.update(more)
            total += effort + more_effort
        else:
            outcomes[file.position] = _describe(file.ref, decoded, pixels[file.position])
    return outcomes, total


def _describe(
    ref: ImageRef, decoded: DecodedFile, out: npt.NDArray[np.uint8]
) -> ImageInfo | Failure:
    """Copy what was decoded into `out`, uint8 [S, S, 3] RGB, and say what it is."""
    result, size_bytes = decoded.result, decoded.size_bytes
    if size_bytes is None:  # The decoder did not live to tell.
        size_bytes = ref.size_bytes
    if isinstance(result, DecodedImage):
        assert size_bytes is not None
        out[:] = result.pixels
        format_ = result.format
        return ImageInfo(ref, decoded.sha256, result.width, result.height, format_, size_bytes)
    assert result is not None
    return Failure(ref, "decode", result.error_type, str(result), size_bytes)


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
            batch, read_effort = _take_batch(images, decoders)
            if not batch:
                return total
            outcomes, effort = _decode_batch(batch, pixels, resize, decoders)
            found.update(outcomes)
            total += read_effort + effort

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
