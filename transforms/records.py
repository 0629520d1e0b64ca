"""The records that flow through the pipeline, from a path to a row.

Only `RefBlock`, `Chunk` and `ChunkResult` ever cross a shuffle. `DecodedChunk` and `EmbeddedChunk`
hold pixels and features; they live inside one fused stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class ImageRef(NamedTuple):
    """One image of the input.

    Attributes:
        uri: a path or URI that a Beam filesystem can open.
        size_bytes: size of the file, None where listing did not tell.
        modified_s: modification time in seconds since 1970, None where listing did not tell.
        columns: values of the manifest's own columns, in the manifest's order.
    """

    uri: str
    size_bytes: int | None = None
    modified_s: float | None = None
    columns: tuple[Any, ...] = ()


def pack_refs(refs: Sequence[ImageRef]) -> tuple[tuple[Any, ...], ...]:
    """Turn refs into columns, which are pickled and restored several times as fast."""
    return tuple(zip(*refs, strict=True))


def unpack_refs(columns: tuple[tuple[Any, ...], ...]) -> tuple[ImageRef, ...]:
    """Turn the columns of `pack_refs` back into refs.

    >>> unpack_refs(pack_refs([ImageRef("a.jpg", 1), ImageRef("b.jpg")]))[1].uri
    'b.jpg'
    """
    return tuple(map(ImageRef, *columns)) if columns else ()


@dataclass(frozen=True)
class RefBlock:
    """Images in no particular order: to a runner, one small element instead of thousands."""

    refs: Sequence[ImageRef]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the refs as columns."""
        return _restore_block, (pack_refs(self.refs),)


def _restore_block(columns: tuple[tuple[Any, ...], ...]) -> RefBlock:
    return RefBlock(unpack_refs(columns))


class Chunk(NamedTuple):
    """A stable slice of one shard: the unit of work, retry, resume and accounting.

    Attributes:
        shard: index of the output part that the chunk belongs to.
        position: place of the chunk in its shard, from 0.
        digest: SHA-256 in hex over the refs and every setting that changes a value in the output.
        refs: the images, sorted by uri, each uri once.
    """

    shard: int
    position: int
    digest: str
    refs: tuple[ImageRef, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the refs as columns."""
        return _restore_chunk, (*self[:-1], pack_refs(self.refs))


def _restore_chunk(
    shard: int, position: int, digest: str, columns: tuple[tuple[Any, ...], ...]
) -> Chunk:
    return Chunk(shard, position, digest, unpack_refs(columns))


class ImageInfo(NamedTuple):
    """What is known of a decoded image; `width` and `height` are as displayed, after EXIF."""

    ref: ImageRef
    sha256: str
    width: int
    height: int
    format: str
    size_bytes: int


class Failure(NamedTuple):
    """Why an image has no embedding; `stage` is read, decode or infer."""

    ref: ImageRef
    stage: str
    error_type: str
    message: str
    size_bytes: int | None


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


@dataclass(frozen=True)
class ErrorCount:
    """How often an error came up, and the first of its messages in alphabetical order."""

    count: int
    example: str


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
    """

    shard: int
    position: int
    digest: str
    images: int
    taken_over: bool
    effort: Effort
    load_id: str | None
    finished_s: int = 0


NAMED = 5
"""How many changed images an account names."""


@dataclass(frozen=True)
class Account:
    """Sums over a part of a run; accounts of disjoint parts add up.

    Attributes:
        inputs: images named by the input, a uri that comes twice counted twice.
        duplicates: inputs whose uri came before.
        embeddings: rows written to `embeddings`.
        failures: rows written to `failures`.
        chunks: chunks merged.
        taken_over: images in chunks that an earlier run computed.
        effort: what this run spent.
        errors: failures by (stage, error type).
        load_ids: the loads of the model that served the chunks.
        images_at: images of the chunks that this run finished, by the second since 1970.
        known: inputs of an append that the dataset holds already; not among `inputs`.
        changed: how many of them have another size or time than when they were embedded.
        changed_uris: the first of those in alphabetical order.
        input_digest: sum of the refs' digests modulo 2**256, the same in any order.
    """

    inputs: int = 0
    duplicates: int = 0
    embeddings: int = 0
    failures: int = 0
    chunks: int = 0
    taken_over: int = 0
    effort: Effort = Effort()
    errors: dict[tuple[str, str], ErrorCount] = field(default_factory=dict)
    load_ids: frozenset[str] = frozenset()
    images_at: Counter[int] = field(default_factory=Counter)
    known: int = 0
    changed: int = 0
    changed_uris: tuple[str, ...] = ()
    input_digest: int = 0

    def __add__(self, other: Account) -> Account:
        """Add the accounts of two disjoint parts."""
        return Account(
            inputs=self.inputs + other.inputs,
            duplicates=self.duplicates + other.duplicates,
            embeddings=self.embeddings + other.embeddings,
            failures=self.failures + other.failures,
            chunks=self.chunks + other.chunks,
            taken_over=self.taken_over + other.taken_over,
            effort=self.effort + other.effort,
            errors=_add_errors(self.errors, other.errors),
            load_ids=self.load_ids | other.load_ids,
            images_at=self.images_at + other.images_at,
            known=self.known + other.known,
            changed=self.changed + other.changed,
            changed_uris=tuple(sorted(self.changed_uris + other.changed_uris)[:NAMED]),
            input_digest=(self.input_digest + other.input_digest) % 2**256,
        )

    @property
    def closes(self) -> bool:
        """Whether every input is a row, a failure or a duplicate."""
        return self.inputs == self.embeddings + self.failures + self.duplicates


def _add_errors(
    a: dict[tuple[str, str], ErrorCount], b: dict[tuple[str, str], ErrorCount]
) -> dict[tuple[str, str], ErrorCount]:
    total = dict(a)
    for error, more in b.items():
        before = total.get(error, ErrorCount(0, more.example))
        example = min(before.example, more.example)
        total[error] = ErrorCount(before.count + more.count, example)
    return total
