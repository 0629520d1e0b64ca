"""Chunks on their way: planned, decoded, embedded, written.

Only `RefBlock`, `Chunk` and `ChunkResult` ever cross a shuffle. `DecodedChunk` and `EmbeddedChunk`
hold pixels and features; they live inside one fused stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from beamvec.transforms.records.images import (
    Failure,
    ImageInfo,
    ImageRef,
    pack_refs,
    unpack_refs,
)


class Chunk(NamedTuple):
    """A stable slice of one shard: the unit of work, retry, resume and accounting.

    Attributes:
        shard: index of the output part that the chunk belongs to.
        position: place of the chunk in its shard, from 0.
        digest: SHA-256 in hex over the refs and every setting that changes a value in the output.
        refs: the images, sorted by uri, each uri once.
        was_damaged: whether an earlier run's file of it was damaged, so that it is computed again.
    """

    shard: int
    position: int
    digest: str
    refs: tuple[ImageRef, ...]
    was_damaged: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the refs as columns."""
        return _restore_chunk, (*self[:3], pack_refs(self.refs), self.was_damaged)


def _restore_chunk(
    shard: int,
    position: int,
    digest: str,
    columns: tuple[tuple[Any, ...], ...],
    was_damaged: bool,
) -> Chunk:
    return Chunk(shard, position, digest, unpack_refs(columns), was_damaged)


@dataclass(frozen=True)
class Effort:
    """Seconds of work by step, summed over threads, and reads that had to be tried again."""

    read_s: float = 0.0
    decode_s: float = 0.0
    infer_s: float = 0.0
    write_s: float = 0.0
    read_retries: int = 0

    def __add__(self, other: Effort) -> Effort:
        """Add step by step."""
        return Effort(
            self.read_s + other.read_s,
            self.decode_s + other.decode_s,
            self.infer_s + other.infer_s,
            self.write_s + other.write_s,
            self.read_retries + other.read_retries,
        )


@dataclass(frozen=True)
class DecodedChunk:
    """A chunk's images, ready for the model.

    Attributes:
        chunk: where the images come from.
        pixels: uint8 [n, S, S, 3] RGB, one row an image of `images`.
        images: the images that could be decoded, sorted by uri.
        failures: the others, sorted by uri.
        effort: what reading and decoding took.
    """

    chunk: Chunk
    pixels: npt.NDArray[np.uint8]
    images: Sequence[ImageInfo]
    failures: Sequence[Failure]
    effort: Effort


@dataclass(frozen=True)
class EmbeddedChunk:
    """A chunk's embeddings, ready to be written.

    Attributes:
        chunk: where the images come from.
        features: float32 [n, D], finite, one row an image of `images`.
        images: the embedded images, sorted by uri.
        failures: the others, sorted by uri.
        effort: what it took until now.
        load_id: names the load of the model that made the features.
    """

    chunk: Chunk
    features: npt.NDArray[np.float32]
    images: Sequence[ImageInfo]
    failures: Sequence[Failure]
    effort: Effort
    load_id: str


class ChunkResult(NamedTuple):
    """A finished chunk, without its data: what `MergeShards` needs to find it in order.

    Attributes:
        shard: index of the output part.
        position: place in the shard.
        digest: names the chunk file.
        images: images in the chunk, failed ones included.
        taken_over: whether an earlier run computed it.
        effort: what this run spent on it.
        load_id: names the load of the model that served it, None if taken over.
        finished_s: when its file was written, in whole seconds since 1970; 0 if taken over.
        was_damaged: whether an earlier run's file of it was damaged.
    """

    shard: int
    position: int
    digest: str
    images: int
    taken_over: bool
    effort: Effort
    load_id: str | None
    finished_s: int = 0
    was_damaged: bool = False
