"""Chunk files: `WriteChunks`, and `SkipFinished`, which finds those of an earlier run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection, TaggedOutput

from beamvec.embeddings import layout, schema
from beamvec.embeddings.schema import Column
from beamvec.transforms.files import storage
from beamvec.transforms.output.sealed import (
    DamagedChunkError,
    seal_chunk,
    unseal_chunk,
)
from beamvec.transforms.output.target import Target
from beamvec.transforms.records import own_columns
from beamvec.transforms.records.chunks import Chunk, ChunkResult, Effort, EmbeddedChunk
from beamvec.transforms.records.coders import CompressedCoder
from beamvec.transforms.records.images import Failure, ImageInfo

FINISHED = "finished"
"""Tag of the output of `SkipFinished` that holds the chunks of an earlier run."""


def chunk_table(embedded: EmbeddedChunk, columns: pa.Schema) -> pa.Table:
    """Build a chunk's rows, sorted by uri: embeddings, and failures where `stage` is not null.

    Args:
        embedded: the chunk.
        columns: the user's own columns.
    """
    target = schema.chunk_schema(columns)
    images, failures = embedded.images, embedded.failures
    image_columns = schema.columns_of(layout.EMBEDDINGS_DIR, layout.INPUTS_DIR)
    failure_columns = schema.columns_of(layout.FAILURES_DIR)
    vectors = {schema.EMBEDDING: _as_lists(embedded.features)}
    rows = pa.concat_tables(
        [
            _make_table(images, image_columns, columns, vectors),
            _make_table(failures, failure_columns, columns, {}),
        ],
        promote_options="default",
    )
    if failures:
        order = sorted(range(rows.num_rows), key=rows[schema.URI].to_pylist().__getitem__)
        rows = rows.take(order)
    return rows.select(target.names).cast(target)


def _as_lists(features: npt.NDArray[np.float32]) -> pa.ListArray:
    """Turn float32 [n, D] into n lists, without a copy."""
    rows, dimension = features.shape
    offsets = np.arange(0, (rows + 1) * dimension, dimension, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(features.reshape(-1)))


def _make_table(
    records: Sequence[ImageInfo | Failure],
    columns: Sequence[Column],
    own: pa.Schema,
    made: Mapping[str, pa.Array],
) -> pa.Table:
    """Build a table with a row a record, of beamvec's columns and the user's own.

    Args:
        records: what the values are read from.
        columns: those of beamvec.
        own: those of the user.
        made: columns that are no values of a record, by name.
    """
    values = [
        made[column.name] if column.name in made else column.read(records) for column in columns
    ]
    values += [
        own_columns.to_arrow([record.ref.columns[i] for record in records], field.type)
        for i, field in enumerate(own)
    ]
    return pa.table(values, schema=pa.schema([*(column.field for column in columns), *own]))


def write_chunk(embedded: EmbeddedChunk, target: Target) -> ChunkResult:
    """Write a chunk file; the same chunk gives the same bytes under the same name."""
    start = time.perf_counter()
    table = chunk_table(embedded, target.columns)
    digest = embedded.chunk.digest
    storage.write_file(target.layout.chunk_file(digest), seal_chunk(table, embedded.chunk))
    effort = embedded.effort + Effort(write_s=time.perf_counter() - start)
    return _result(embedded.chunk, effort, embedded.load_id)


def _result(chunk: Chunk, effort: Effort, load_id: str | None) -> ChunkResult:
    return ChunkResult(
        shard=chunk.shard,
        position=chunk.position,
        digest=chunk.digest,
        images=len(chunk.refs),
        taken_over=load_id is None,
        effort=effort,
        load_id=load_id,
        finished_s=int(time.time()) if load_id else 0,
        was_damaged=chunk.was_damaged,
    )


class SkipFinished(beam.PTransform[Any, Any]):
    """Set aside chunks whose file is whole: `Chunk` -> dict of `chunks` and `finished` results."""

    def __init__(self, target: Target):
        super().__init__()
        self._target = target

    def expand(self, chunks: PCollection[Chunk]) -> dict[str, PCollection[Any]]:
        """Apply the transform."""
        look = beam.FlatMap(_skip_finished, self._target)
        split = chunks | "LookForFile" >> look.with_outputs(FINISHED, main="chunks")
        return {"chunks": split["chunks"], FINISHED: split[FINISHED]}


def _skip_finished(chunk: Chunk, target: Target) -> Iterator[Chunk | TaggedOutput[str, Any]]:
    try:
        content = storage.read_bytes(target.layout.chunk_file(chunk.digest))
        unseal_chunk(content, chunk.digest)
    except FileNotFoundError:
        yield chunk
    except DamagedChunkError:
        Metrics.counter("beamvec", "chunks_damaged").inc()
        yield chunk._replace(was_damaged=True)
    else:
        Metrics.counter("beamvec", "images_taken_over").inc(len(chunk.refs))
        yield TaggedOutput(FINISHED, _result(chunk, Effort(), load_id=None))


class WriteChunks(beam.PTransform[Any, Any]):
    """Write chunk files: `EmbeddedChunk` -> `ChunkResult`."""

    def __init__(self, target: Target):
        super().__init__()
        self._target = target

    def expand(self, embedded: PCollection[EmbeddedChunk]) -> PCollection[ChunkResult]:
        """Apply the transform."""
        write = beam.Map(write_chunk, self._target)
        return embedded | "WriteFile" >> write.with_output_types(ChunkResult)


beam.coders.registry.register_coder(ChunkResult, CompressedCoder)
