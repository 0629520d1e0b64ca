"""Chunk files: written, found again, and what they hold."""

from __future__ import annotations

from dataclasses import replace

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from made_chunks import embedded_chunks, make_chunk

from beamvec.embeddings import schema
from beamvec.embeddings.layout import Layout
from beamvec.transforms.output.chunk_files import (
    FINISHED,
    SkipFinished,
    WriteChunks,
    chunk_table,
    write_chunk,
)
from beamvec.transforms.output.target import Target
from beamvec.transforms.records.own_columns import NO_COLUMNS


@pytest.fixture
def target(tmp_path):
    return Target(Layout(str(tmp_path)))


@settings(max_examples=40, deadline=None)
@given(embedded_chunks())
def test_a_chunk_file_holds_every_ref_once(embedded):
    rows = chunk_table(embedded, NO_COLUMNS).to_pylist()
    assert [row["uri"] for row in rows] == [ref.uri for ref in embedded.chunk.refs]
    vectors = [row["embedding"] for row in rows if row["stage"] is None]
    assert vectors == embedded.features.tolist()
    failed = [(row["uri"], row["stage"], row["message"]) for row in rows if row["stage"]]
    assert failed == [(f.ref.uri, f.stage, f.message) for f in embedded.failures]


@settings(max_examples=20, deadline=None)
@given(embedded_chunks())
def test_a_table_has_the_schema_of_chunk_files(embedded):
    assert chunk_table(embedded, NO_COLUMNS).schema == schema.chunk_schema()


def test_own_columns_are_those_of_images_and_of_failures():
    own = pa.schema([pa.field("label", pa.string()), pa.field("score", pa.int64())])
    made = make_chunk("a", 2, 1)
    records = [
        record._replace(ref=record.ref._replace(columns=(f"l{i}", i or None)))
        for i, record in enumerate([*made.images, *made.failures])
    ]
    table = chunk_table(replace(made, images=records[:2], failures=records[2:]), own)
    assert table["label"].to_pylist() == ["l0", "l1", "l2"]
    assert table["score"].to_pylist() == [None, 1, 2]


def test_the_same_chunk_gives_the_same_bytes_and_nothing_else(target, tmp_path):
    first = write_chunk(make_chunk("ab", 3, 1), target)
    (file,) = (tmp_path / "chunks").iterdir()
    content = file.read_bytes()
    write_chunk(make_chunk("ab", 3, 1), target)
    assert [found.name for found in (tmp_path / "chunks").iterdir()] == ["ab.parquet"]
    assert file.read_bytes() == content
    assert (first.digest, first.images, first.taken_over, first.load_id) == ("ab", 4, False, "load")
    assert first.finished_s > 0
    assert first.effort.write_s > 0


def test_chunks_with_a_file_are_set_aside(target):
    write_chunk(make_chunk("done", 2, 1), target)
    done, new = (make_chunk(digest, 2, 1).chunk for digest in ("done", "new"))
    with TestPipeline(runner="FnApiRunner") as pipeline:
        split = pipeline | beam.Create([done, new]) | SkipFinished(target)
        digests = split["chunks"] | "Digest" >> beam.Map(lambda chunk: chunk.digest)
        assert_that(digests, equal_to(["new"]), "new")
        told = split[FINISHED] | beam.Map(lambda r: (r.digest, r.images, r.taken_over, r.load_id))
        assert_that(told, equal_to([("done", 3, True, None)]), "done")


def test_damaged_chunk_files_are_computed_again_and_counted(target, tmp_path):
    write_chunk(make_chunk("done", 2), target)
    file = tmp_path / "chunks" / "done.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with TestPipeline(runner="FnApiRunner") as pipeline:
        split = pipeline | beam.Create([make_chunk("done", 2).chunk]) | SkipFinished(target)
        again = split["chunks"] | beam.Map(lambda chunk: (chunk.digest, chunk.was_damaged))
        assert_that(again, equal_to([("done", True)]))


def test_chunks_are_written_in_beam(target, tmp_path):
    with TestPipeline(runner="FnApiRunner") as pipeline:
        chunks = pipeline | beam.Create([make_chunk("a", 2), make_chunk("b", 0, 1)])
        images = chunks | WriteChunks(target) | beam.Map(lambda result: result.images)
        assert_that(images, equal_to([2, 1]))
    assert pq.read_table(tmp_path / "chunks" / "a.parquet").num_rows == 2
