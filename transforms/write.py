"""Chunk files: `WriteChunks`, and `SkipFinished`, which finds those of an earlier run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection, TaggedOutput

from embeddings import schema
from transforms import manifest, storage
from transforms.manifest import NO_COLUMNS
from transforms.records import Chunk, ChunkResult, Effort, EmbeddedChunk, ImageRef

FINISHED = "finished"
"""Tag of the output of `SkipFinished` that holds the chunks of an earlier run."""


@dataclass(frozen=True)
class OutputOptions:
    """Where and how a dataset is written.

    Attributes:
        path: the dataset's folder.
        columns: the manifest's own columns.
        metadata: what is written into each file: model, settings, version.
        generation: 0 for the run that makes the dataset, n for the n-th that appends to it.
    """

    path: str
    columns: pa.Schema = NO_COLUMNS
    metadata: dict[str, Any] = field(default_factory=dict)
    generation: int = 0

    @property
    def chunks_path(self) -> str:
        """The folder of chunk files, which is removed at the end."""
        return storage.join(self.path, "chunks")

    @property
    def parts_path(self) -> str:
        """Where parts are written: aside, until they are whole, if the dataset is there already."""
        return storage.join(self.chunks_path, "parts") if self.generation else self.path

    def chunk_file(self, digest: str) -> str:
        """The file of a chunk."""
        return storage.join(self.chunks_path, f"{digest}.parquet")


def chunk_table(embedded: EmbeddedChunk, columns: pa.Schema) -> pa.Table:
    """Build a chunk's rows, sorted by uri: embeddings, and failures where `stage` is not null."""
    target = schema.chunk_schema(columns)
    rows = pa.concat_tables(
        [_image_table(embedded, columns), _failure_table(embedded, columns)],
        promote_options="default",
    )
    if embedded.failures:
        order = sorted(range(rows.num_rows), key=rows[schema.URI].to_pylist().__getitem__)
        rows = rows.take(order)
    # One row a ref, sorted by uri as the refs are.
    times = pa.array([ref.modified_s for ref in embedded.chunk.refs], pa.float64())
    rows = rows.append_column(schema.MODIFIED_S, times)
    return rows.select(target.names).cast(target)


def _image_table(embedded: EmbeddedChunk, columns: pa.Schema) -> pa.Table:
    images = embedded.images
    target = schema.embeddings_schema(columns)
    rows, dimension = embedded.features.shape
    offsets = np.arange(0, (rows + 1) * dimension, dimension, dtype=np.int32)
    values = pa.array(embedded.features.reshape(-1))
    vectors = pa.ListArray.from_arrays(pa.array(offsets), values)
    return pa.table(
        [
            [image.ref.uri for image in images],
            vectors,
            [image.sha256 for image in images],
            [image.width for image in images],
            [image.height for image in images],
            [image.format for image in images],
            [image.size_bytes for image in images],
            *_own_columns([image.ref for image in images], columns),
        ],
        schema=target,
    )


def _failure_table(embedded: EmbeddedChunk, columns: pa.Schema) -> pa.Table:
    failures = embedded.failures
    return pa.table(
        [
            [failure.ref.uri for failure in failures],
            [failure.stage for failure in failures],
            [failure.error_type for failure in failures],
            [failure.message for failure in failures],
            [failure.size_bytes for failure in failures],
            *_own_columns([failure.ref for failure in failures], columns),
        ],
        schema=schema.failures_schema(columns),
    )


def _own_columns(refs: list[ImageRef], columns: pa.Schema) -> list[pa.Array]:
    return [
        manifest.to_arrow([ref.columns[i] for ref in refs], field.type)
        for i, field in enumerate(columns)
    ]


def write_chunk(embedded: EmbeddedChunk, output: OutputOptions) -> ChunkResult:
    """Write a chunk file; the same chunk gives the same bytes under the same name."""
    start = time.perf_counter()
    table = chunk_table(embedded, output.columns)
    with storage.open_atomically(output.chunk_file(embedded.chunk.digest)) as file:
        pq.write_table(table, file, **schema.parquet_options(table.schema))
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
    )


class SkipFinished(beam.PTransform[Any, Any]):
    """Set aside chunks whose file exists: `Chunk` -> dict of `chunks` and `finished` results."""

    def __init__(self, output: OutputOptions):
        super().__init__()
        self._output = output

    def expand(self, chunks: PCollection[Chunk]) -> dict[str, PCollection[Any]]:
        """Apply the transform."""
        look = beam.FlatMap(_skip_finished, self._output)
        split = chunks | "LookForFile" >> look.with_outputs(FINISHED, main="chunks")
        return {"chunks": split["chunks"], FINISHED: split[FINISHED]}


def _skip_finished(chunk: Chunk, output: OutputOptions) -> Iterator[Chunk | TaggedOutput[str, Any]]:
    if storage.exists(output.chunk_file(chunk.digest)):
        Metrics.counter("beamvec", "images_taken_over").inc(len(chunk.refs))
        yield TaggedOutput(FINISHED, _result(chunk, Effort(), load_id=None))
    else:
        yield chunk


class WriteChunks(beam.PTransform[Any, Any]):
    """Write chunk files: `EmbeddedChunk` -> `ChunkResult`."""

    def __init__(self, output: OutputOptions):
        super().__init__()
        self._output = output

    def expand(self, embedded: PCollection[EmbeddedChunk]) -> PCollection[ChunkResult]:
        """Apply the transform."""
        write = beam.Map(write_chunk, self._output)
        return embedded | "WriteFile" >> write.with_output_types(ChunkResult)
