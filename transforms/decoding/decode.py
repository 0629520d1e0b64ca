"""From refs to pixels: reading and decoding the images of a chunk, `DecodeImages`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection

from beamvec.transforms.decoding.outcome import Outcome
from beamvec.transforms.decoding.pool import DecoderPool, SharedPool
from beamvec.transforms.decoding.reading import ImageFile, read_file
from beamvec.transforms.decoding.resize import Resizing, require_resizer
from beamvec.transforms.decoding.runs import Turns, read_run
from beamvec.transforms.files.readers import FILES, ImageReader, RunReader
from beamvec.transforms.records.chunks import Chunk, DecodedChunk, Effort
from beamvec.transforms.records.coders import InProcessCoder
from beamvec.transforms.records.images import Failure, ImageInfo, ImageRef

READ_THREADS = 16
"""Images read at the same time by each bundle, so that slow storage does not starve the model."""

PARCEL_IMAGES = 64
PARCEL_BYTES = 1 << 20
LEAST_PARCEL_BYTES = 1 << 16
PARCEL_PIXEL_BYTES = 1 << 24
"""What a decoder is sent at a time: of tiny images many, as a message costs; large ones alone.
Towards the end of a chunk it is less and less, so that all decoders end with it at the same time.
The pixels bound the memory that a decoder shares with its parent."""


Images: TypeAlias = Iterator[tuple[int, ImageRef | ImageFile]]
"""Images and their places in the chunk; refs are still to be read."""


def decode_chunk(
    chunk: Chunk,
    resizing: Resizing,
    threads: ThreadPoolExecutor,
    pool: DecoderPool,
    reader: ImageReader = FILES,
) -> DecodedChunk:
    """Read and decode the images of a chunk, several at a time; the result keeps their order.

    Args:
        chunk: the images.
        resizing: how they become square.
        threads: where the images are read.
        pool: where they are decoded.
        reader: how they are read.

    Raises:
        PoolClosedError: if the pool is closed, or is meanwhile.
    """
    pixels = np.empty((len(chunk.refs), resizing.size, resizing.size, 3), np.uint8)
    results: list[ImageInfo | Failure | None] = [None] * len(chunk.refs)

    def decode_parcels(images: Images) -> Effort:
        effort = Effort()
        while taken := _take_parcel(images, len(chunk.refs), resizing, pool, reader):
            parcel = [source._replace(out=pixels[i]) for i, source in taken]
            outcomes = pool.decode_parcel(parcel, resizing, reader)
            for (i, source), outcome in zip(taken, outcomes, strict=True):
                results[i] = _settle(source.ref, outcome)
            effort += _sum_effort(outcomes)
        return effort

    # Shared by the threads: each takes the next images when it is free.
    with _open_images(chunk.refs, pool, reader) as images:
        lanes = [threads.submit(decode_parcels, images) for _ in range(READ_THREADS)]
        effort = sum((lane.result() for lane in lanes), Effort())
    return _assemble(chunk, pixels, results, effort)


@contextlib.contextmanager
def _open_images(
    refs: Sequence[ImageRef], pool: DecoderPool, reader: ImageReader
) -> Iterator[Images]:
    """Number the images of a chunk: refs of files of their own, which whoever takes one reads."""
    if isinstance(reader, RunReader):
        with contextlib.closing(Turns(read_run(refs, reader, pool.max_file_size))) as turns:
            yield turns
    else:
        # Safe for threads, as `next` of an `enumerate` over a tuple is one step for the
        # interpreter.
        images = iter(enumerate(refs))
        try:
            yield images
        finally:
            # After an error or Ctrl-C whoever draws from it finds nothing more.
            for _ in images:
                pass


def _take_parcel(
    images: Images, count: int, resizing: Resizing, pool: DecoderPool, reader: ImageReader
) -> list[tuple[int, ImageFile]]:
    """Take the next of `count` images and their places, enough for a parcel; none at the end."""
    most = min(PARCEL_IMAGES, max(1, PARCEL_PIXEL_BYTES // (3 * resizing.size**2)))
    taken: list[tuple[int, ImageFile]] = []
    size_bytes = 0
    for i, image in images:
        source = image if isinstance(image, ImageFile) else _load(image, pool, reader)
        taken.append((i, source))
        size_bytes += _count_bytes(source)
        left_bytes = size_bytes / len(taken) * (count - i - 1)
        share_bytes = max(LEAST_PARCEL_BYTES, left_bytes / (2 * pool.count))
        if len(taken) == most or size_bytes >= min(PARCEL_BYTES, share_bytes):
            break
    return taken


def _count_bytes(source: ImageFile) -> int:
    """Return how much a decoder will be given or read, 0 where that cannot be known."""
    content, size_bytes = source.content, source.ref.size_bytes
    if isinstance(content, bytes):
        return len(content)
    if size_bytes is not None:
        return size_bytes
    with contextlib.suppress(OSError, ValueError):
        return os.stat(content).st_size
    return 0


def _load(ref: ImageRef, pool: DecoderPool, reader: ImageReader) -> ImageFile:
    path = None if pool.reads_slowly else reader.local_path(ref)
    return ImageFile(ref, path) if path else read_file(ref, reader, pool.max_file_size)


def _settle(ref: ImageRef, outcome: Outcome) -> ImageInfo | Failure:
    """Say what an image is, or why it is none."""
    image, error, size_bytes = outcome.image, outcome.error, outcome.size_bytes
    if image is None:
        assert error is not None
        return Failure(ref, error.stage, error.error_type, error.message, size_bytes)
    assert size_bytes is not None
    return ImageInfo(ref, outcome.sha256, image.width, image.height, image.format, size_bytes)


def _sum_effort(outcomes: Sequence[Outcome]) -> Effort:
    return Effort(
        read_s=sum(outcome.read_s for outcome in outcomes),
        decode_s=sum(outcome.decode_s for outcome in outcomes),
        read_retries=sum(outcome.read_retries for outcome in outcomes),
    )


def _assemble(
    chunk: Chunk,
    pixels: npt.NDArray[np.uint8],
    results: Sequence[ImageInfo | Failure | None],
    effort: Effort,
) -> DecodedChunk:
    """Part the images from the failures, and leave these out of the pixels."""
    assert None not in results
    decoded = np.array([isinstance(result, ImageInfo) for result in results], bool)
    return DecodedChunk(
        chunk=chunk,
        pixels=pixels if decoded.all() else pixels[decoded],
        images=[result for result in results if isinstance(result, ImageInfo)],
        failures=[result for result in results if isinstance(result, Failure)],
        effort=effort,
    )


class DecodeImages(beam.PTransform[Any, Any]):
    """Read, decode and resize: `Chunk` -> `DecodedChunk` with uint8 [n, S, S, 3] RGB pixels.

    Args:
        resizing: how they become square.
        pool: names the pool that decodes in each worker process.
        reader: how images are read.
    """

    def __init__(
        self,
        resizing: Resizing,
        pool: SharedPool | None = None,
        reader: ImageReader = FILES,
    ):
        super().__init__()
        self._resizing = resizing
        self._pool = pool or SharedPool()
        self._reader = reader

    def expand(self, chunks: PCollection[Chunk]) -> PCollection[DecodedChunk]:
        """Apply the transform."""
        decode = _DecodeFn(self._resizing, self._pool, self._reader)
        # Without the type Beam pickles the pixels, to know how much goes from step to step.
        return chunks | "Decode" >> beam.ParDo(decode).with_output_types(DecodedChunk)


class _DecodeFn(beam.DoFn):
    """Keeps threads that read, and the pool that decodes."""

    def __init__(self, resizing: Resizing, pool: SharedPool, reader: ImageReader):
        self._resizing = resizing
        self._shared_pool = pool
        self._reader = reader
        self._images_in = Metrics.counter("beamvec", "images_in")
        self._images_decoded = Metrics.counter("beamvec", "images_decoded")
        self._images_failed = Metrics.counter("beamvec", "images_failed")

    def setup(self) -> None:
        require_resizer(self._resizing.resizer)
        self._threads = ThreadPoolExecutor(READ_THREADS, "decode")
        self._pool = self._shared_pool.get()
        self._pool.start()  # The processes get ready while the model is loaded.

    def process(self, chunk: Chunk) -> Iterator[DecodedChunk]:
        decoded = decode_chunk(chunk, self._resizing, self._threads, self._pool, self._reader)
        self._images_in.inc(len(chunk.refs))
        self._images_decoded.inc(len(decoded.images))
        self._images_failed.inc(len(decoded.failures))
        yield decoded

    def teardown(self) -> None:
        self._threads.shutdown()


beam.coders.registry.register_coder(DecodedChunk, InProcessCoder)
