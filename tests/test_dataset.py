"""Reading datasets, inspecting them, and the files themselves."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystem import BeamIOError
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings import DatasetError, open_dataset, schema
from pipeline.main import main
from pipeline.report import AccountingError, RunInfo, describe_run
from transforms.merge import merge_shard
from transforms.records import (
    Account,
    Chunk,
    Effort,
    EmbeddedChunk,
    Failure,
    ImageInfo,
    ImageRef,
)
from transforms.write import OutputOptions, chunk_table, write_chunk


def test_vectors_come_with_their_uris(extract, dataset, photos):
    extract("--input", photos, "--rows-per-shard", "5", "--max-failure-ratio", "1")
    uris, vectors = dataset().read_uris(), dataset().read_vectors()
    assert vectors.dtype == np.float32
    assert vectors.shape == (21, 16)
    rows = dataset().read_embeddings().to_pylist()
    assert uris == [row["uri"] for row in rows]
    np.testing.assert_array_equal(vectors, [row["embedding"] for row in rows])


def test_inspect_tells_the_accounts(extract, photos, tmp_path, capsys):
    extract("--input", photos, "--max-failure-ratio", "1")
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "23 inputs = 21 embeddings + 2 failures + 0 duplicates" in out
    assert "21 rows of 16 numbers" in out
    assert "1 x decode: OSError" in out


def test_what_is_no_finished_dataset_is_named(tmp_path, extract, photos, capsys):
    with pytest.raises(DatasetError, match="does not exist"):
        open_dataset(str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match="no finished dataset"):
        open_dataset(str(tmp_path))
    extract("--input", photos / "group0")
    (tmp_path / "out" / "_SUCCESS").unlink()
    with pytest.raises(DatasetError, match="goes on where it stopped"):
        open_dataset(str(tmp_path / "out"))
    (tmp_path / "out" / "_SUCCESS").touch()
    (tmp_path / "out" / "run.json").write_text("{")
    assert main(["inspect", str(tmp_path / "out")]) == 2
    assert "is damaged" in capsys.readouterr().err


def test_file_layout(extract, dataset, photos):
    extract("--input", photos, "--max-failure-ratio", "1")
    metadata = pq.read_metadata(dataset().embedding_files[0].path)
    column = metadata.row_group(0).column(1)
    assert column.path_in_schema == "embedding.list.element"
    assert column.compression == "LZ4"
    assert not {"PLAIN_DICTIONARY", "RLE_DICTIONARY"} & set(column.encodings)
    failures = pq.read_schema(dataset().failure_files[0].path)
    assert failures.names == ["uri", "stage", "error_type", "message", "size_bytes"]


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)


@st.composite
def embedded_chunks(draw):
    uris = sorted(draw(st.sets(words, min_size=1, max_size=12)))
    refs = [ImageRef(uri) for uri in uris]
    good = [draw(st.booleans()) for _ in refs]
    images = [
        ImageInfo(ref, "0" * 64, 4, 3, "PNG", 9) for ref, ok in zip(refs, good, strict=True) if ok
    ]
    failures = [
        Failure(ref, draw(st.sampled_from(["read", "decode", "infer"])), "E", draw(words), None)
        for ref, ok in zip(refs, good, strict=True)
        if not ok
    ]
    features = np.arange(len(images) * 3, dtype=np.float32).reshape(-1, 3)
    chunk = Chunk(0, 0, f"{draw(st.integers(0, 2**64)):064x}", tuple(refs))
    return EmbeddedChunk(chunk, features, images, failures, Effort(), "load")


@settings(max_examples=40, deadline=None)
@given(embedded_chunks())
def test_a_chunk_file_holds_every_ref_once(embedded):
    rows = chunk_table(embedded, OutputOptions("").columns).to_pylist()
    assert [row["uri"] for row in rows] == [ref.uri for ref in embedded.chunk.refs]
    vectors = [row["embedding"] for row in rows if row["stage"] is None]
    assert vectors == embedded.features.tolist()
    failed = [(row["uri"], row["stage"], row["message"]) for row in rows if row["stage"]]
    assert failed == [(f.ref.uri, f.stage, f.message) for f in embedded.failures]


@settings(max_examples=15, deadline=None)
@given(st.lists(embedded_chunks(), max_size=4), st.integers(1, 9))
def test_merging_keeps_every_row_in_order(tmp_path_factory, chunks, group):
    output = OutputOptions(str(tmp_path_factory.mktemp("merge")))
    chunks = [
        EmbeddedChunk(
            c.chunk._replace(position=i, digest=str(i)), c.features, c.images, c.failures,
            c.effort, c.load_id,
        )
        for i, c in enumerate(chunks)
    ]  # fmt: skip
    results = [write_chunk(chunk, output) for chunk in reversed(chunks)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "ROW_GROUP_ROWS", group)
        account = merge_shard(1, 3, results, output)
    images = [image.ref.uri for chunk in chunks for image in chunk.images]
    failures = [failure.ref.uri for chunk in chunks for failure in chunk.failures]
    name = schema.part_name(1, 3)
    table = pq.read_table(f"{output.path}/embeddings/{name}")
    assert table["uri"].to_pylist() == images
    assert pq.read_table(f"{output.path}/failures/{name}")["uri"].to_pylist() == failures
    metadata = pq.read_metadata(f"{output.path}/embeddings/{name}")
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert all(size == group for size in sizes[:-1])
    assert (account.embeddings, account.failures) == (len(images), len(failures))
    assert sum(error.count for error in account.errors.values()) == len(failures)


def test_an_error_while_merging_names_the_part_that_could_not_be_written(tmp_path, monkeypatch):
    refs = tuple(ImageRef(f"{i}.jpg", 1, 1.0) for i in range(4))
    images = [ImageInfo(ref, "", 1, 1, "JPEG", 1) for ref in refs]
    features = np.zeros((4, 2), np.float32)
    embedded = EmbeddedChunk(Chunk(0, 0, "a", refs), features, images, [], Effort(), "")
    output = OutputOptions(str(tmp_path))
    result = write_chunk(embedded, output)

    def refuse(*_args, **_options):
        raise BeamIOError("upload refused", {"part": 403})

    monkeypatch.setattr(schema, "ROW_GROUP_ROWS", 2)
    monkeypatch.setattr(pq.ParquetWriter, "write_table", refuse)
    with pytest.raises(PermissionError, match="Access denied") as error:
        merge_shard(0, 1, [result], output)
    assert error.value.filename == f"{tmp_path}/embeddings/{schema.part_name(0, 1)}"
    assert not list(tmp_path.glob("*/part-*"))


def test_accounts_that_do_not_close_are_an_error():
    run = RunInfo("out", "out/chunks", 0.0, 1.0, {"input": {}})
    assert describe_run(Account(inputs=3, embeddings=1, failures=1, duplicates=1), run, 2.0)
    with pytest.raises(AccountingError, match="3 inputs, but 1 embeddings"):
        describe_run(Account(inputs=3, embeddings=1, failures=1), run, 2.0)


def test_run_json_is_plain_json(extract, photos, tmp_path):
    extract("--input", photos, "--max-failure-ratio", "1")
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert {"settings", "model", "versions", "counts", "timings", "input", "failures"} <= set(run)
    assert run["timings"]["infer_s"] > 0
    assert run["failures"][0]["count"] == 1
