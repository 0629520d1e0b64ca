"""From chunk files to the parts of a dataset."""

from __future__ import annotations

import hashlib
import shutil

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st
from made_chunks import embedded_chunks, make_chunk

from beamvec.embeddings import layout, schema
from beamvec.embeddings.layout import Layout
from beamvec.embeddings.run_record import FileRecord
from beamvec.transforms.files import storage
from beamvec.transforms.output.chunk_files import write_chunk
from beamvec.transforms.output.merge import MergeShards, count_failures, merge_shard
from beamvec.transforms.output.target import Target
from beamvec.transforms.records.account import AccountingError, ErrorCount
from beamvec.transforms.records.chunks import EmbeddedChunk


@settings(max_examples=15, deadline=None)
@given(st.lists(embedded_chunks(), max_size=4), st.integers(1, 9))
def test_merging_keeps_every_row_in_order(tmp_path_factory, chunks, group):
    target = Target(Layout(str(tmp_path_factory.mktemp("merge"))))
    chunks = [
        EmbeddedChunk(
            c.chunk._replace(position=i, digest=str(i)), c.features, c.images, c.failures,
            c.effort, c.load_id,
        )
        for i, c in enumerate(chunks)
    ]  # fmt: skip
    results = [write_chunk(chunk, target) for chunk in reversed(chunks)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "ROW_GROUP_ROWS", group)
        account = merge_shard(1, 3, results, target)
    images = [image.ref.uri for chunk in chunks for image in chunk.images]
    failures = [failure.ref.uri for chunk in chunks for failure in chunk.failures]
    name = layout.part_name(1, 3)
    table = pq.read_table(f"{target.parts.path}/embeddings/{name}")
    assert table["uri"].to_pylist() == images
    assert pq.read_table(f"{target.parts.path}/failures/{name}")["uri"].to_pylist() == failures
    metadata = pq.read_metadata(f"{target.parts.path}/embeddings/{name}")
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert all(size == group for size in sizes[:-1])
    assert (account.embeddings, account.failures) == (len(images), len(failures))
    assert sum(error.count for error in account.errors.values()) == len(failures)


def test_parts_are_put_aside_under_names_of_their_own(tmp_path):
    target = Target(Layout(str(tmp_path)), generation=2, metadata={"model": "m"}, token="ab")
    account = merge_shard(0, 1, [write_chunk(make_chunk("a", 2, 1), target)], target)
    name = layout.part_name(0, 1, 2)
    for table, rows in (("embeddings", 2), ("failures", 1), ("_inputs", 2)):
        path = tmp_path / "chunks" / "parts" / "ab" / table / name
        assert pq.read_metadata(path).num_rows == rows
        content = path.read_bytes()
        file = FileRecord(len(content), hashlib.sha256(content).hexdigest())
        assert account.files[f"{table}/{name}"] == file
    assert not (tmp_path / "embeddings").exists()
    assert (account.embeddings, account.failures, account.chunks) == (2, 1, 1)
    metadata = pq.read_schema(f"{target.parts.table('embeddings')}/{name}").metadata
    assert metadata[schema.METADATA_KEY] == b'{"model": "m"}'


@pytest.mark.parametrize("positions", [[0, 2], [0, 0], [1]])
def test_a_chunk_that_is_missing_or_there_twice_is_an_error(tmp_path, positions):
    target = Target(Layout(str(tmp_path)))
    result = write_chunk(make_chunk("a", 2), target)
    results = [result._replace(position=position) for position in positions]
    with pytest.raises(AccountingError, match="lacks a chunk or has one twice"):
        merge_shard(0, 1, results, target)


def test_a_chunk_file_in_the_place_of_another_is_not_merged(tmp_path):
    target = Target(Layout(str(tmp_path)))
    one, other = (write_chunk(make_chunk(name, 2), target) for name in "ab")
    shutil.copy(target.layout.chunk_file(one.digest), target.layout.chunk_file(other.digest))
    with pytest.raises(OSError, match="was damaged while the run went on: it is of another chunk"):
        merge_shard(0, 1, [one, other._replace(position=1)], target)
    assert not storage.exists(target.layout.chunk_file(other.digest))  # So it is computed again.
    with pytest.raises(OSError, match="has been removed while the run went on"):
        merge_shard(0, 1, [one, other._replace(position=1)], target)


def test_chunks_of_an_earlier_run_are_counted_as_taken_over(tmp_path):
    target = Target(Layout(str(tmp_path)))
    result = write_chunk(make_chunk("a", 2, 1), target)
    new = merge_shard(0, 1, [result], target)
    assert (new.taken_over, set(new.load_ids), new.images_at.total()) == (0, {"load"}, 3)
    again = merge_shard(0, 1, [result._replace(taken_over=True, load_id=None)], target)
    assert (again.taken_over, again.load_ids, again.images_at.total()) == (3, frozenset(), 0)


def test_failures_are_counted_by_kind_with_the_first_message():
    read = [("read", "OSError", message) for message in ("cut at 9", "gone", "cut at 17")]
    rows = [*read, ("decode", "OSError", "gone")]
    names = ["stage", "error_type", "message"]
    table = (
        schema.table_schema("failures")
        .empty_table()
        .from_pylist(
            [{"uri": str(i), **dict(zip(names, row, strict=True))} for i, row in enumerate(rows)],
            schema=schema.table_schema("failures"),
        )
    )
    account = count_failures(table)
    assert account.failures == 4
    assert account.errors == {
        ("read", "OSError", "cut at …"): ErrorCount(2, "cut at 17"),
        ("read", "OSError", "gone"): ErrorCount(1, "gone"),
        ("decode", "OSError", "gone"): ErrorCount(1, "gone"),
    }


def test_shards_without_a_chunk_get_empty_parts(tmp_path):
    target = Target(Layout(str(tmp_path)))
    result = write_chunk(make_chunk("a", 2, shard=1), target)
    with TestPipeline(runner="FnApiRunner") as pipeline:
        shards = pipeline | "Shards" >> beam.Create([3])
        accounts = pipeline | "Results" >> beam.Create([result]) | MergeShards(shards, target)
        assert_that(accounts | beam.Map(lambda a: a.embeddings), equal_to([0, 2, 0]))
    rows = [
        pq.read_metadata(f"{target.parts.table('embeddings')}/{layout.part_name(i, 3)}").num_rows
        for i in range(3)
    ]
    assert rows == [0, 2, 0]
