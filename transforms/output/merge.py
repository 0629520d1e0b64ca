"""From chunk files to the dataset's parts: `MergeShards`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.pvalue import AsSingleton, PCollection

from beamvec.embeddings import layout, schema
from beamvec.embeddings.run_record import FileRecord
from beamvec.transforms.files import storage
from beamvec.transforms.output.hashed import Hashed
from beamvec.transforms.output.sealed import DamagedChunkError, unseal_chunk
from beamvec.transforms.output.target import Target
from beamvec.transforms.records.account import (
    Account,
    AccountingError,
    ErrorCount,
    ErrorKey,
    add_errors,
)
from beamvec.transforms.records.causes import name_cause
from beamvec.transforms.records.chunks import ChunkResult

_AddRows = Callable[[pa.Table], None]


def merge_shard(shard: int, shards: int, results: Iterable[ChunkResult], target: Target) -> Account:
    """Write a shard's parts of `embeddings`, `failures` and `_inputs`, in one pass over its chunks.

    Row groups have one size whatever the size of the chunks, so that the bytes depend on the rows
    only. Memory holds a chunk and a row group of each part.

    Args:
        shard: the part's index.
        shards: how many parts there are.
        results: the shard's chunks, in any order; none gives empty parts.
        target: where the chunk files are and the parts go.

    Returns:
        The rows written, and sums over the results.

    Raises:
        AccountingError: if chunks are missing between others, or there is one twice.
        OSError: if a chunk file was lost or damaged meanwhile.
    """
    chunks = sorted(results, key=lambda result: result.position)
    if [chunk.position for chunk in chunks] != list(range(len(chunks))):
        raise AccountingError(f"shard {shard} lacks a chunk or has one twice")
    files: dict[str, FileRecord] = {}
    name = layout.part_name(shard, shards, target.generation)

    def open_part(folder: str, columns: pa.Schema) -> AbstractContextManager[_AddRows]:
        path = storage.join(target.parts.table(folder), name)
        return _open_part(path, columns, lambda file: files.update({f"{folder}/{name}": file}))

    failures, embeddings = (
        schema.with_metadata(schema.table_schema(table, target.columns), target.metadata)
        for table in (layout.FAILURES_DIR, layout.EMBEDDINGS_DIR)
    )
    total = Account()
    with (
        open_part(layout.FAILURES_DIR, failures) as add_failures,
        open_part(layout.EMBEDDINGS_DIR, embeddings) as add_embeddings,
        open_part(layout.INPUTS_DIR, schema.table_schema("_inputs")) as add_inputs,
    ):
        for chunk in chunks:
            embedded = _read_chunk(chunk, target)
            is_embedded = pc.is_null(embedded[schema.STAGE])
            if not pc.all(is_embedded).as_py():
                failed = embedded.filter(pc.invert(is_embedded))
                embedded = embedded.filter(is_embedded)
                add_failures(failed)
                total += count_failures(failed)
            add_embeddings(embedded)
            add_inputs(embedded)
            total += _account_chunk(chunk, embedded.num_rows)
    return total + Account(files=files)


def _account_chunk(chunk: ChunkResult, embeddings: int) -> Account:
    return Account(
        embeddings=embeddings,
        chunks=1,
        taken_over=chunk.images if chunk.taken_over else 0,
        damaged=int(chunk.was_damaged),
        effort=chunk.effort,
        load_ids=frozenset([chunk.load_id] if chunk.load_id else []),
        images_at=Counter({} if chunk.taken_over else {chunk.finished_s: chunk.images}),
    )


def count_failures(table: pa.Table) -> Account:
    """Count rows of `failures` by stage, error type and cause, with an example of each."""
    columns = table.select([schema.STAGE, schema.ERROR_TYPE, schema.MESSAGE])
    groups = columns.group_by(columns.column_names).aggregate([([], "count_all")])
    errors: dict[ErrorKey, ErrorCount] = {}
    for row in groups.to_pylist():
        message = row[schema.MESSAGE]
        key = (row[schema.STAGE], row[schema.ERROR_TYPE], name_cause(message))
        errors = add_errors(errors, {key: ErrorCount(row["count_all"], message)})
    return Account(failures=table.num_rows, errors=errors)


def _read_chunk(chunk: ChunkResult, target: Target) -> pa.Table:
    """Read the rows of a chunk file, which was whole when it was written or taken over."""
    path = target.layout.chunk_file(chunk.digest)
    again = "the same command computes it again"
    try:
        return unseal_chunk(storage.read_bytes(path), chunk.digest)
    except FileNotFoundError as error:
        raise OSError(f"{path} has been removed while the run went on; {again}") from error
    except DamagedChunkError as error:
        storage.delete(path)
        raise OSError(f"{path} was damaged while the run went on: {error}; {again}") from error


@contextmanager
def _open_part(
    path: str, target: pa.Schema, tell: Callable[[FileRecord], None]
) -> Iterator[_AddRows]:
    """Write a part in row groups of `ROW_GROUP_ROWS` rows, of which the last may be shorter.

    Yields a function that takes the rows, in tables of any size with the target's columns at least.
    """
    size = schema.ROW_GROUP_ROWS
    with storage.open_atomically(path) as file:
        hashed = Hashed(file)
        with pq.ParquetWriter(hashed, target, **schema.parquet_options(target)) as writer:
            held = target.empty_table()

            def add_rows(table: pa.Table) -> None:
                nonlocal held
                held = pa.concat_tables([held, table.select(target.names).cast(target)])
                while held.num_rows >= size:
                    writer.write_table(held.slice(0, size), row_group_size=size)
                    held = held.slice(size)

            yield add_rows
            if held.num_rows:
                writer.write_table(held, row_group_size=size)
        tell(FileRecord(hashed.tell(), hashed.sha256()))


class MergeShards(beam.PTransform[Any, Any]):
    """Write the parts: `ChunkResult` -> an `Account` a shard.

    Args:
        shards: a PCollection of one number, how many parts there are. Shards without a chunk get
            empty parts.
        target: where the chunk files are and the parts go.
    """

    def __init__(self, shards: PCollection[int], target: Target):
        super().__init__()
        self._shards = shards
        self._target = target

    def expand(self, results: PCollection[ChunkResult]) -> PCollection[Account]:
        """Apply the transform."""
        pair = tuple[int, ChunkResult | None]
        keyed = results | "KeyByShard" >> beam.Map(_key_by_shard).with_output_types(pair)
        every = self._shards | "EveryShard" >> beam.FlatMap(_every_shard).with_output_types(pair)
        merge = beam.Map(_merge, self._target, AsSingleton(self._shards))
        return (
            (keyed, every)
            | "WithEmptyShards" >> beam.Flatten()
            | "GroupShards" >> beam.GroupByKey()
            | "WriteParts" >> merge.with_output_types(Account)
        )


def _key_by_shard(result: ChunkResult) -> tuple[int, ChunkResult | None]:
    return result.shard, result


def _every_shard(shards: int) -> Iterator[tuple[int, ChunkResult | None]]:
    return ((shard, None) for shard in range(shards))


def _merge(
    element: tuple[int, Iterable[ChunkResult | None]], target: Target, shards: int
) -> Account:
    shard, results = element
    return merge_shard(shard, shards, [result for result in results if result], target)
