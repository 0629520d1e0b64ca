"""From chunk files to the dataset's parts: `MergeShards`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.pvalue import AsSingleton, PCollection

from embeddings import schema
from transforms import storage
from transforms.records import Account, ChunkResult, Effort, ErrorCount
from transforms.write import OutputOptions


def merge_shard(
    shard: int, shards: int, results: Iterable[ChunkResult], output: OutputOptions
) -> Account:
    """Write one part of `embeddings` and of `failures` from a shard's chunk files.

    Row groups have one size whatever the size of the chunks, so that the bytes depend on the rows
    only. Memory holds a chunk and a row group.

    Args:
        shard: the part's index.
        shards: how many parts there are.
        results: the shard's chunks, in any order; none gives empty parts.
        output: where the chunk files are and the parts go.

    Returns:
        The rows written, and sums over the results.
    """
    chunks = sorted(results, key=lambda result: result.position)
    files = [output.chunk_file(chunk.digest) for chunk in chunks]
    name = schema.part_name(shard, shards, output.generation)
    failures_schema = schema.failures_schema(output.columns)
    embeddings_schema = schema.embeddings_schema(output.columns)
    inputs_schema = schema.inputs_schema()
    failed = _write_part(
        storage.join(output.parts_path, schema.FAILURES_DIR, name),
        schema.with_metadata(failures_schema, output.metadata),
        (_failed(_read_chunk(file, failures_schema.names)) for file in files),
        count_failures,
    )
    embedded = _write_part(
        storage.join(output.parts_path, schema.EMBEDDINGS_DIR, name),
        schema.with_metadata(embeddings_schema, output.metadata),
        (_embedded(_read_chunk(file)) for file in files),
        lambda table: Account(embeddings=table.num_rows),
    )
    _write_part(
        storage.join(output.parts_path, schema.INPUTS_DIR, name),
        inputs_schema,
        (_embedded(_read_chunk(file, [*inputs_schema.names, schema.STAGE])) for file in files),
        lambda _: Account(),
    )
    images_at: Counter[int] = Counter()
    for chunk in chunks:
        if not chunk.taken_over:
            images_at[chunk.finished_s] += chunk.images
    return (
        failed
        + embedded
        + Account(
            chunks=len(chunks),
            taken_over=sum(chunk.images for chunk in chunks if chunk.taken_over),
            effort=sum((chunk.effort for chunk in chunks), Effort()),
            load_ids=frozenset(chunk.load_id for chunk in chunks if chunk.load_id),
            images_at=images_at,
        )
    )


def count_failures(table: pa.Table) -> Account:
    """Count rows of `failures` by stage and error type, with an example of each."""
    keys = [schema.STAGE, schema.ERROR_TYPE]
    groups = table.group_by(keys).aggregate([(schema.URI, "count"), (schema.MESSAGE, "min")])
    errors = {
        (row[schema.STAGE], row[schema.ERROR_TYPE]): ErrorCount(
            row[f"{schema.URI}_count"], row[f"{schema.MESSAGE}_min"]
        )
        for row in groups.to_pylist()
    }
    return Account(failures=table.num_rows, errors=errors)


def _read_chunk(path: str, columns: list[str] | None = None) -> pa.Table:
    # Chunks are small: threads would cost more than they save, and read_table three times as much.
    with storage.open_file(path) as file, pq.ParquetFile(file) as chunk:
        return chunk.read(columns, use_threads=False)


def _failed(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_valid(table[schema.STAGE]))


def _embedded(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_null(table[schema.STAGE]))


def _write_part(
    path: str, target: pa.Schema, tables: Iterable[pa.Table], count: Callable[[pa.Table], Account]
) -> Account:
    """Write a part and return the sum of what `count` says of its rows."""
    total = Account()

    def write(file: BinaryIO) -> None:
        nonlocal total
        with pq.ParquetWriter(file, target, **schema.parquet_options(target)) as writer:
            for group in _regroup(table.select(target.names).cast(target) for table in tables):
                writer.write_table(group, row_group_size=schema.ROW_GROUP_ROWS)
                total += count(group)

    storage.write_atomically(path, write)
    return total


def _regroup(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Cut tables anew into tables of `ROW_GROUP_ROWS` rows; only the last may be shorter."""
    held: pa.Table | None = None
    for table in tables:
        held = table if held is None else pa.concat_tables([held, table])
        while held.num_rows >= schema.ROW_GROUP_ROWS:
            yield held.slice(0, schema.ROW_GROUP_ROWS)
            held = held.slice(schema.ROW_GROUP_ROWS)
    if held is not None and held.num_rows:
        yield held


class MergeShards(beam.PTransform[Any, Any]):
    """Write the parts: `ChunkResult` -> an `Account` a shard.

    Args:
        shards: a PCollection of one number, how many parts there are. Shards without a chunk get
            empty parts.
        output: where the chunk files are and the parts go.
    """

    def __init__(self, shards: PCollection[int], output: OutputOptions):
        super().__init__()
        self._shards = shards
        self._output = output

    def expand(self, results: PCollection[ChunkResult]) -> PCollection[Account]:
        """Apply the transform."""
        pair = tuple[int, ChunkResult | None]
        keyed = results | "KeyByShard" >> beam.Map(_key_by_shard).with_output_types(pair)
        every = self._shards | "EveryShard" >> beam.FlatMap(_every_shard).with_output_types(pair)
        merge = beam.Map(_merge, self._output, AsSingleton(self._shards))
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
    element: tuple[int, Iterable[ChunkResult | None]], output: OutputOptions, shards: int
) -> Account:
    shard, results = element
    return merge_shard(shard, shards, [result for result in results if result], output)
