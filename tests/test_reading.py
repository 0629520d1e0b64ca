"""Reading datasets with `beamvec.open_dataset`: vectors, metadata, batches, lookups, search."""

from __future__ import annotations

import importlib.util
import json
import re
import socket
import subprocess
import sys
from dataclasses import replace as replace_fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samples
from beamvec.embeddings import DatasetError, RunRecord, open_dataset, opening, schema, search
from beamvec.embeddings.settings import Settings
from beamvec.embeddings.verify import check_dataset
from beamvec.errors import ArgumentError
from beamvec.model_spec import ModelSpec
from beamvec.pipeline.commands.main import main

DOCS = Path(__file__).parents[1] / "docs" / "reading.md"


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 40),
    parts=st.integers(1, 4),
    batch=st.integers(1, 50) | st.none(),
    random=st.randoms(use_true_random=False),
)
def test_every_way_of_reading_gives_the_same_rows(tmp_path_factory, count, parts, batch, random):
    folder = tmp_path_factory.mktemp("dataset")
    vectors = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
    uris = random.sample([f"{i}.jpg" for i in range(1000)], count)
    by_uri = dict(zip(uris, vectors.tolist(), strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "ROW_GROUP_ROWS", 4)
        order = samples.write_dataset(folder, vectors, uris, parts)
    dataset = open_dataset(str(folder))
    assert (len(dataset), dataset.dimension) == (count, 3)
    assert dataset.read_uris() == order
    assert dataset.read_vectors().tolist() == [by_uri[uri] for uri in order]
    assert dataset.read_metadata().column_names == dataset.columns
    batches = list(dataset.read_batches(batch))
    assert [uri for b in batches for uri in b.metadata["uri"].to_pylist()] == order
    assert [v for b in batches for v in b.vectors.tolist()] == [by_uri[uri] for uri in order]
    if batch:
        assert all(len(b.vectors) == batch for b in batches[:-1])
    some = random.choices(order, k=5) if order else []
    found = dataset.lookup(some)
    assert found.metadata["uri"].to_pylist() == some
    assert found.vectors.tolist() == [by_uri[uri] for uri in some]
    assert (
        dataset.take([order.index(uri) for uri in some]).vectors.tolist() == found.vectors.tolist()
    )


def test_vectors_are_read_into_place(tmp_path, random):
    vectors = random.normal(size=(30, 3)).astype(np.float32)
    samples.write_dataset(tmp_path, vectors, parts=1)
    dataset = open_dataset(str(tmp_path))
    out = np.memmap(tmp_path / "vectors", np.float32, "w+", shape=(30, 3))
    assert dataset.read_vectors(out) is out
    np.testing.assert_array_equal(out, vectors)
    for wrong in (np.empty((29, 3), np.float32), np.empty((30, 3)), np.empty((3, 30), "f4").T):
        with pytest.raises(ValueError, match=r"must be C-contiguous float32 \[30, 3\]"):
            dataset.read_vectors(wrong)


def test_what_is_not_there_is_named(tmp_path, random):
    samples.write_dataset(tmp_path, random.normal(size=(9, 3)).astype(np.float32))
    dataset = open_dataset(str(tmp_path))
    with pytest.raises(DatasetError, match=r"no image with the uri x.jpg \(and 1 more\); one that"):
        dataset.lookup(["00001.jpg", "x.jpg", "zzz"])
    with pytest.raises(
        DatasetError, match=r"no image with the uri x\.jpg; one that it has is 0000\d\.jpg$"
    ):
        dataset.find_rows("x.jpg")
    for row in (-1, 9):
        with pytest.raises(IndexError, match="from 0 to 8"):
            dataset.take([row])
    with pytest.raises(ValueError, match="rows is 0"):
        dataset.read_batches(0)


@pytest.mark.parametrize("table", ["embeddings", "failures"])
def test_a_table_of_which_a_part_is_gone_is_never_read_as_if_it_were_whole(table, tmp_path, random):
    vectors = random.normal(size=(9, 3)).astype(np.float32)
    samples.write_dataset(tmp_path, vectors, failures=2)
    next((tmp_path / table).glob("part-00000*")).unlink()
    dataset = open_dataset(tmp_path)
    readers = [dataset.read_failures]
    if table == "embeddings":
        readers = [dataset.read_vectors, dataset.read_uris, dataset.read_metadata]
        readers += [dataset.read_embeddings, lambda: list(dataset.read_batches())]
    for read in readers:
        with pytest.raises(DatasetError, match=f"the {table} files hold .* files are missing"):
            read()
    if table == "failures":
        assert main(["failures", str(tmp_path)]) == 2


def test_paths_are_given_in_many_ways(tmp_path, random, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a", "b"):
        samples.write_dataset(tmp_path / name, random.normal(size=(4, 3)).astype(np.float32))
    path, other = tmp_path / "a", str(tmp_path / "b")
    for one in (path, str(path), "~/a", Path("~/a"), [path], (f"{path}/",), path.as_uri()):
        assert len(open_dataset(one)) == 4
    for two in ([path, other], (path, other), (each for each in (path, other))):
        assert open_dataset(two).paths == (str(path), other)
    assert open_dataset("~/a", other).paths == (str(path), other)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ([], "the list of paths is empty"),
        ("", "'' is no path"),
        (None, "a NoneType is no path"),
        (b"bytes", "b'bytes' is no path"),
        ([1], "a int is no path"),
        (Path("gs://bucket/x"), "gs:/bucket/x was a URI before"),
        (Path(__file__), "is a file; give the folder"),
        ("nowhere", "nowhere does not exist"),
        ("no://where", "cannot open no://where"),
    ],
)
def test_what_is_no_path_is_refused(path, message):
    with pytest.raises(DatasetError, match=message):
        open_dataset(path)


WAYS_OF_CHOOSING = {
    "read_metadata": lambda dataset, columns: dataset.read_metadata(columns),
    "read_embeddings": lambda dataset, columns: dataset.read_embeddings(columns),
    "read_batches": lambda dataset, columns: next(dataset.read_batches(2, columns)).metadata,
    "take": lambda dataset, columns: dataset.take([1], columns).metadata,
    "lookup": lambda dataset, columns: dataset.lookup(["00001.jpg"], columns).metadata,
    "to_pandas": lambda dataset, columns: dataset.to_pandas(columns),
}


@pytest.mark.parametrize("way", WAYS_OF_CHOOSING)
def test_a_column_that_is_not_there_is_named_by_all_ways(tmp_path, random, way):
    if way == "to_pandas":
        pytest.importorskip("pandas", reason="pandas is optional")
    samples.write_dataset(tmp_path, random.normal(size=(9, 3)).astype(np.float32))
    dataset, read = open_dataset(tmp_path), WAYS_OF_CHOOSING[way]
    message = r"no column widht \(did you mean width\?\); its columns are uri, embedding, sha256"
    for wrong in (["uri", "widht"], "widht"):
        with pytest.raises(DatasetError, match=message):
            read(dataset, wrong)
    for wrong in (["embedding.list.element"], [["uri"]], [7]):
        with pytest.raises(DatasetError, match="has no column"):
            read(dataset, wrong)
    with pytest.raises(ArgumentError, match="columns is 7"):
        read(dataset, 7)
    assert list(read(dataset, ["width", "uri", "width"])) == list(read(dataset, ["width", "uri"]))


@pytest.mark.parametrize("way", sorted(WAYS_OF_CHOOSING.keys() - {"to_pandas"}))
def test_one_column_can_be_given_alone(tmp_path, random, way):
    samples.write_dataset(tmp_path, random.normal(size=(9, 3)).astype(np.float32))
    assert WAYS_OF_CHOOSING[way](open_dataset(tmp_path), "width").column_names == ["width"]


def test_columns_of_failures_are_their_own(tmp_path, random):
    samples.write_dataset(tmp_path, random.normal(size=(9, 3)).astype(np.float32))
    dataset = open_dataset(tmp_path)
    assert dataset.read_failures("stage").column_names == ["stage"]
    with pytest.raises(DatasetError, match=r"failures has no column stag \(did you mean stage\?"):
        dataset.read_failures(["stag"])


def test_uris_are_given_in_many_ways(tmp_path, random):
    order = samples.write_dataset(tmp_path, random.normal(size=(9, 3)).astype(np.float32))
    dataset = open_dataset(tmp_path)
    uri = order[4]
    for one in (uri, [uri], Path(uri), {uri}, pa.array([uri]), (each for each in [uri])):
        assert dataset.find_rows(one) == [4]
    assert dataset.lookup(uri).metadata["uri"].to_pylist() == [uri]
    assert dataset.find_rows(dataset.read_metadata("uri")["uri"]) == list(range(9))
    for wrong in (None, 3, [3], [b"x"]):
        with pytest.raises(ArgumentError, match="a uri must be a string"):
            dataset.find_rows(wrong)


def test_rows_are_given_in_many_ways(tmp_path, random):
    order = samples.write_dataset(tmp_path, random.normal(size=(9, 3)).astype(np.float32))
    dataset = open_dataset(tmp_path)
    for two in ([7, 2], (7, 2), np.array([7, 2], np.uint64), iter([7, 2]), pa.array([7, 2])):
        assert dataset.take(two).metadata["uri"].to_pylist() == [order[7], order[2]]
    for one in (7, np.int32(7), range(7, 8)):
        assert dataset.take(one).metadata["uri"].to_pylist() == [order[7]]
    for none in ([], np.empty(0), iter([])):
        assert dataset.take(none, "width").metadata.column_names == ["width"]
        assert dataset.take(none).vectors.shape == (0, 3)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones(9, bool), r"rows is bool \[9\]; .* np.flatnonzero\(mask\)"),
        ([0.5], "rows is float64"),
        ([[1, 2], [3, 4]], r"rows is \[2, 2\]; it must have one dimension"),
        ([[1, 2], [3]], "rows cannot be made an array"),
        ("abc", "must be numbers of rows"),
        (slice(3), "must be numbers of rows"),
        (None, "must be numbers of rows"),
    ],
)
def test_what_are_no_rows_is_refused(tmp_path, random, rows, message):
    samples.write_dataset(tmp_path, random.normal(size=(9, 3)).astype(np.float32))
    with pytest.raises(ArgumentError, match=message):
        open_dataset(tmp_path).take(rows)


def test_a_dataset_is_shown_in_a_few_lines(tmp_path, random):
    samples.write_dataset(tmp_path, random.normal(size=(9, 3)).astype(np.float32))
    shown = repr(open_dataset(tmp_path))
    assert shown.splitlines() == [
        f"Dataset({str(tmp_path)!r})",
        "  rows      9 x 3 float32",
        "  model     m (ffffffffffff)",
        "  settings  stretch, float32, tensorflow",
        "  columns   uri, embedding, sha256, width, height, format, size_bytes",
        "  failures  0",
    ]


def test_a_data_frame_has_what_the_table_has(tmp_path, random):
    pytest.importorskip("pandas", reason="pandas is optional")
    vectors = random.normal(size=(9, 3)).astype(np.float32)
    order = samples.write_dataset(tmp_path, vectors)
    dataset = open_dataset(tmp_path)
    frame = dataset.to_pandas()
    assert list(frame.columns) == dataset.columns
    assert frame["uri"].tolist() == order
    whole = dataset.to_pandas(["uri"], vectors=True)
    assert list(whole.columns) == ["uri", "embedding"]
    np.testing.assert_array_equal(np.stack(whole["embedding"]), dataset.read_vectors())


def test_a_data_frame_asks_for_pandas(tmp_path, random, monkeypatch):
    samples.write_dataset(tmp_path, random.normal(size=(9, 3)).astype(np.float32))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        open_dataset(tmp_path).to_pandas()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(1, 4), st.integers(0, 45))
def test_a_condition_finds_what_a_loop_finds(tmp_path_factory, count, parts, least):
    folder = tmp_path_factory.mktemp("dataset")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "ROW_GROUP_ROWS", 4)
        order = samples.write_dataset(folder, np.ones((count, 3), np.float32), parts=parts)
    dataset = open_dataset(folder)
    rows = dataset.find_rows_where(pc.field("uri") >= f"{least:05d}.jpg")
    assert rows.dtype == np.int64
    assert rows.tolist() == [row for row, uri in enumerate(order) if uri >= f"{least:05d}.jpg"]
    found = dataset.take(rows).metadata["uri"].to_pylist()
    assert found == [order[row] for row in rows]


def test_a_condition_on_a_null_is_not_met(tmp_path, random):
    samples.write_dataset(tmp_path, random.normal(size=(4, 3)).astype(np.float32), parts=1)
    (file,) = (tmp_path / "embeddings").iterdir()
    table = pq.read_table(file)
    labels = pa.array(["cat", None, "dog", "cat"])
    pq.write_table(table.append_column("label", labels), file)
    dataset = open_dataset(tmp_path)
    assert dataset.find_rows_where(pc.field("label") == "cat").tolist() == [0, 3]
    assert dataset.find_rows_where(pc.field("label") != "cat").tolist() == [2]
    assert dataset.find_rows_where(pc.field("label").is_null()).tolist() == [1]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (pc.field("widht") > 1, r"no column widht \(did you mean width\?\); its columns are uri"),
        (pc.field("width") == "x", "cannot be filtered by"),
        (pc.field("width") + 1, "must evaluate to bool"),
        ("width > 1", "where is a str; it must be an expression"),
        (True, "where is a bool"),
    ],
)
def test_a_condition_that_cannot_be_is_refused(tmp_path, random, where, message):
    samples.write_dataset(tmp_path, random.normal(size=(4, 3)).astype(np.float32))
    with pytest.raises((DatasetError, ArgumentError), match=message):
        open_dataset(tmp_path).find_rows_where(where)


def test_vectors_are_normalised_on_request(tmp_path, random):
    vectors = random.normal(size=(20, 3)).astype(np.float32)
    vectors[3] = 0
    order = samples.write_dataset(tmp_path, vectors)
    dataset = open_dataset(tmp_path)
    lengths = np.linalg.norm(dataset.read_vectors(), axis=1, keepdims=True)
    expected = dataset.read_vectors() / np.where(lengths > 0, lengths, 1)
    units = dataset.read_vectors(normalize=True)
    np.testing.assert_allclose(units, expected, rtol=1e-6)
    assert not units[order.index("00003.jpg")].any()
    for found in (
        dataset.take(range(20), normalize=True).vectors,
        dataset.lookup(order, normalize=True).vectors,
        np.concatenate([batch.vectors for batch in dataset.read_batches(7, normalize=True)]),
        dataset.read_vectors(np.empty((20, 3), np.float32), normalize=True),
    ):
        np.testing.assert_array_equal(found, units)


def test_a_store_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(opening, "_GCS_RETRY_S", 1)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", place)
        with pytest.raises(DatasetError, match="cannot open gs://bucket/dataset: "):
            open_dataset("gs://bucket/dataset")


def test_several_datasets_are_read_as_one(tmp_path, random):
    vectors = random.normal(size=(20, 3)).astype(np.float32)
    orders = [
        samples.write_dataset(tmp_path / name, vectors[rows], [f"{name}{i}" for i in range(10)])
        for name, rows in (("a", slice(10)), ("b", slice(10, 20)))
    ]
    both = open_dataset(str(tmp_path / "a"), str(tmp_path / "b"))
    assert len(both) == 20
    assert both.read_uris() == orders[0] + orders[1]
    expected = np.concatenate([open_dataset(path).read_vectors() for path in both.paths])
    np.testing.assert_array_equal(both.read_vectors(), expected)
    assert both.lookup(["b3", "a2"]).metadata["uri"].to_pylist() == ["b3", "a2"]


@pytest.mark.parametrize("name", ["fingerprint", "resize"])
def test_datasets_that_do_not_fit_together_are_refused(tmp_path, random, name):
    vectors = random.normal(size=(4, 3)).astype(np.float32)
    for folder in ("a", "b"):
        samples.write_dataset(tmp_path / folder, vectors)
    run = json.loads((tmp_path / "b" / "run.json").read_text())
    run["settings" if name == "fingerprint" else "spec"][name] = "crop"
    samples.write_record(tmp_path / "b", run)
    what = "model" if name == "fingerprint" else name
    with pytest.raises(DatasetError, match=f"cannot be read as one, their {what} differ"):
        open_dataset(str(tmp_path / "a"), str(tmp_path / "b"))


def test_damage_is_named(tmp_path, random):
    vectors = random.normal(size=(30, 3)).astype(np.float32)
    samples.write_dataset(tmp_path, vectors)
    files = sorted((tmp_path / "embeddings").iterdir())
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:100])
    with pytest.raises(DatasetError, match=f"{files[0].name} is damaged or cannot be read"):
        open_dataset(str(tmp_path)).read_vectors()
    files[0].unlink()
    with pytest.raises(DatasetError, match=r"hold 20 rows, run.json tells of 30"):
        open_dataset(str(tmp_path)).read_vectors()
    (tmp_path / "embeddings" / "own.parquet").write_bytes(whole)
    pq.write_table(pq.read_table(files[1]).replace_schema_metadata({}), files[0])
    with pytest.raises(DatasetError, match="was not written by beamvec"):
        open_dataset(str(tmp_path)).read_vectors()
    for file in (tmp_path / "failures").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match="it has no failures files"):
        open_dataset(str(tmp_path))


def rewrite(tmp_path, change):
    """Change the tables of a dataset's `embeddings` files."""
    for file in sorted((tmp_path / "embeddings").iterdir()):
        table = pq.read_table(file)
        pq.write_table(change(table), file)
    samples.sign(tmp_path)


def replace(table, name, values):
    place = table.column_names.index(name)
    return table.set_column(place, name, values)


READERS = {
    "vectors": lambda dataset: dataset.read_vectors(),
    "uris": lambda dataset: dataset.read_uris(),
    "rows": lambda dataset: dataset.find_rows("00001.jpg"),
    "batches": lambda dataset: list(dataset.read_batches(2)),
    "where": lambda dataset: dataset.find_rows_where(pc.field("width") > 0),
}
DAMAGES = {
    "a column is gone": lambda table: table.drop_columns(["uri", "embedding", "width"]),
    "numbers for strings": lambda table: replace(table, "uri", pa.array(range(len(table)))),
    "null uris": lambda table: replace(table, "uri", pa.nulls(len(table), pa.string())),
    "strings for numbers": lambda table: replace(table, "width", table["uri"]),
    "strings for vectors": lambda table: replace(table, "embedding", table["uri"]),
    "float64": lambda table: replace(
        table, "embedding", table["embedding"].cast(pa.list_(pa.float64()))
    ),
    "null vectors": lambda table: replace(
        table, "embedding", pa.nulls(len(table), pa.list_(pa.float32()))
    ),
    "no UTF-8": lambda table: replace(
        table,
        "uri",
        pa.array([b"\xff%d" % row for row in range(len(table))]).view(pa.string()),
    ),
    "other metadata": lambda table: table.replace_schema_metadata({"beamvec": b'{"x": 1}'}),
    "no model": lambda table: table.replace_schema_metadata({"beamvec": b'{"fingerprint": 5}'}),
    "no object": lambda table: table.replace_schema_metadata({"beamvec": b"[" * 9999}),
    "garbage": lambda table: table.replace_schema_metadata({"beamvec": b"\xff\x00"}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damage_ends_in_another_error(tmp_path, random, damage):
    samples.write_dataset(tmp_path, random.normal(size=(9, 3)).astype(np.float32))
    rewrite(tmp_path, DAMAGES[damage])
    dataset = open_dataset(tmp_path)
    refused = 0
    for read in READERS.values():
        try:
            read(dataset)
        except DatasetError:
            refused += 1
    assert refused
    assert check_dataset(open_dataset(tmp_path))


def test_files_of_different_columns_are_damage(tmp_path, random):
    samples.write_dataset(tmp_path, random.normal(size=(9, 3)).astype(np.float32))
    file = sorted((tmp_path / "embeddings").iterdir())[1]
    table = pq.read_table(file)
    pq.write_table(table.append_column("label", table["uri"]), file)
    with pytest.raises(DatasetError, match="have different columns"):
        open_dataset(tmp_path).read_embeddings()
    pq.write_table(table.drop_columns("width"), file)
    for read in (open_dataset(tmp_path).read_metadata, open_dataset(tmp_path).read_batches):
        with pytest.raises(DatasetError, match="is damaged: it has no column width"):
            list(read(columns=["width"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\x00\x01", "run.json is damaged"),
        (b"", "run.json is damaged"),
        (b"[]", "it holds no JSON object"),
        (b"[" * 100_000, "run.json is damaged"),
        (b"{}", "settings is missing"),
        ({"dimension": "3"}, 'dimension is "3"'),
        ({"dimension": 0}, "embeddings of 0 numbers"),
        ({"dimension": 2**60}, "run.json is damaged"),
        ({"model": 5}, "model is 5"),
        ({"counts": 5}, "counts is no JSON object"),
        ({"counts": {"embeddings": -1}}, "tells of -1 embeddings"),
        ({"settings": None}, "settings is no JSON object"),
        ({"settings": {"format_version": 99}}, "upgrade beamvec"),
        ({"appended": [5]}, r"appended\[0\] is no JSON object"),
    ],
)
def test_a_damaged_record_is_named(tmp_path, random, content, message):
    samples.write_dataset(tmp_path, random.normal(size=(9, 3)).astype(np.float32))
    file = tmp_path / "run.json"
    if isinstance(content, dict):
        content = json.loads(file.read_text()) | content
    samples.write_record(tmp_path, content)
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path)


def test_records_of_format_1_are_read(tmp_path, random):
    samples.write_dataset(tmp_path, random.normal(size=(9, 3)).astype(np.float32))
    counts = {"inputs": 11, "embeddings": 9, "failures": 2, "duplicates": 0}
    run = {
        "beamvec": "0.1.0",
        "settings": {
            "model": "f" * 64,
            "resize": "crop",
            "precision": "float32",
            "engine": "openvino",
            "rows_per_shard": 7,
            "columns": {"label": "string"},
        },
        "model": {
            "handle": "https://tfhub.dev/m",
            "fingerprint": "f" * 64,
            "input_size": 224,
            "dimension": 3,
            "weights": "random",
        },
        "input": {"patterns": ["photos"], "list": None, "manifest": None, "digest": "ab"},
        "counts": counts,
        "failures": [
            {"stage": "read", "error_type": "OSError", "count": 2, "example": "it is gone"}
        ],
        "timings": {"launched": "x", "finished": "y", "run_s": 2},
        "appended": [
            {
                "settings": {},
                "model": {"handle": "m", "fingerprint": "f" * 64, "dimension": 3},
                "counts": counts,
            }
        ],
    }
    (tmp_path / "run.json").write_text(json.dumps(run))
    (tmp_path / "_SUCCESS").write_text("\n")
    dataset = open_dataset(tmp_path)
    record = dataset.run
    assert (len(dataset), dataset.dimension, record.input_size) == (9, 3, 224)
    assert record.spec == ModelSpec(resize="crop", size=224, dimension=3)
    assert (record.model, record.weights, record.version) == (
        "https://tfhub.dev/m",
        "random",
        "0.1.0",
    )
    assert (record.input.source, record.input.names, record.input.digest) == (
        "input",
        ("photos",),
        "ab",
    )
    assert dataset.settings == Settings(
        "f" * 64, ModelSpec(resize="crop"), "float32", "openvino", 7, {"label": "string"}
    )
    assert record.counts.failure_ratio == 2 / 11
    assert record.failures[0].error_type == "OSError"
    assert record.latest.counts.embeddings == 9
    assert "openvino" in repr(dataset)
    later = replace_fields(record, settings=Settings("f" * 64, format_version=2), appended=())
    for whole in (record, record.append(later)):
        assert RunRecord.from_json(whole.to_json(), "run.json") == whole


def test_rows_of_another_length_are_damage(tmp_path, random):
    samples.write_dataset(tmp_path, random.normal(size=(6, 3)).astype(np.float32), parts=1)
    run = json.loads((tmp_path / "run.json").read_text())
    run["dimension"] = 4
    samples.write_record(tmp_path, run)
    with pytest.raises(DatasetError, match="rows that are no 4 numbers"):
        open_dataset(str(tmp_path)).read_vectors()


def test_reading_imports_numpy_and_pyarrow_only(tmp_path, random):
    samples.write_dataset(tmp_path, random.normal(size=(6, 3)).astype(np.float32))
    code = (
        "import sys, beamvec\n"
        f"d = beamvec.open_dataset({str(tmp_path)!r})\n"
        "beamvec.search(d, d.read_vectors()[:1]); d.lookup(['00001.jpg']); repr(d)\n"
        "print([m for m in ('pandas', 'scipy', 'apache_beam', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 9), st.booleans())
def test_search_finds_the_nearest_rows(tmp_path_factory, count, k, seed, distinct):
    random = np.random.default_rng(seed)
    vectors = random.integers(-2, 3, (count, 3)).astype(np.float32)  # Many ties, some zeros.
    if distinct:
        vectors = random.normal(size=(count, 3)).astype(np.float32)
    folder = tmp_path_factory.mktemp("dataset")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "ROW_GROUP_ROWS", 7)
        samples.write_dataset(folder, vectors, parts=1)
    queries = vectors[random.integers(0, count, 4)]
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-30)
    cosines = queries @ vectors.T / lengths
    cosines /= np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-30)
    for source in (vectors, open_dataset(str(folder))):
        found = search(source, queries, k)
        assert found.rows.shape == found.cosines.shape == (4, min(k, count))
        best = -np.sort(-cosines, axis=1)[:, :k]
        np.testing.assert_allclose(found.cosines, best, atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(cosines, found.rows, 1), best, atol=1e-6)
        assert all(len(set(rows)) == len(rows) for rows in found.rows.tolist())


@pytest.mark.parametrize(
    ("source", "queries", "k", "message"),
    [
        (np.ones((4, 3)), np.ones((1, 2)), 1, r"\[1, 2\]; it must be \[q, 3\] or \[3\]"),
        (np.ones((4, 3)), np.ones(2), 1, r"queries is \[2\]; it must be"),
        (np.ones((4, 3)), np.ones((1, 1, 3)), 1, r"queries is \[1, 1, 3\]"),
        (np.ones((4, 3)), [[1, 2], [3]], 1, "queries cannot be made an array"),
        (np.ones((4, 3)), "x", 1, "queries is a str"),
        (np.ones((4, 3)), None, 1, "queries is a NoneType"),
        (np.ones((4, 3)), [1, np.nan, 1], 1, "queries holds NaN"),
        (np.ones((4, 3)), np.ones(3), 0, "k is 0"),
        (np.ones(3), np.ones(3), 1, r"source is \[3\]"),
        ("dataset", np.ones(3), 1, "source is a str"),
        (None, np.ones(3), 1, "source is a NoneType"),
        ([object()], np.ones(3), 1, "source is a list"),
    ],
)
def test_what_cannot_be_searched_is_refused(source, queries, k, message):
    with pytest.raises(ArgumentError, match=message):
        search(source, queries, k)


def test_other_kinds_of_numbers_are_searched(tmp_path, random):
    vectors = random.integers(-100, 100, (50, 3)).astype(np.float32)
    expected = search(vectors, vectors[:4], 5)
    for source in (
        vectors.tolist(),
        *(vectors.astype(kind) for kind in ("f8", "f2", "i8", "i1")),
    ):
        for queries in (vectors[:4], vectors[:4].astype(np.float64), vectors[:4].tolist()):
            found = search(source, queries, 5)
            assert found.cosines.dtype == np.float32
            np.testing.assert_allclose(found.cosines, expected.cosines, atol=1e-6)
    samples.write_dataset(tmp_path, vectors, parts=1)
    for source in (vectors, open_dataset(tmp_path)):
        one = search(source, vectors[2], 5)
        assert one.rows.tolist() == expected.rows[2:3].tolist()
        assert search(source, vectors[:0], 5).rows.shape == (0, 5)


def test_rows_that_are_not_finite_come_last(random):
    vectors = random.normal(size=(30, 3)).astype(np.float32)
    vectors[3] = np.nan
    vectors[8, 1] = np.inf
    found = search(vectors, vectors[:2], 30)
    assert sorted(found.rows[0].tolist()) == list(range(30))
    assert found.rows[:, -2:].tolist() == [[3, 8]] * 2
    assert found.cosines[:, -2:].tolist() == [[-np.inf] * 2] * 2


def test_the_examples_of_the_docs_run(tmp_path, random, monkeypatch):
    for name, count in (("dataset", 40), ("more", 9)):
        vectors = random.normal(size=(count, 16)).astype(np.float32)
        samples.write_dataset(tmp_path / name, vectors, [f"{name}/{i}.jpg" for i in range(count)])
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.M | re.S)
    names: dict = {}
    pandas = importlib.util.find_spec("pandas") is not None
    for block in blocks:
        if "to_pandas" in block and not pandas:
            continue  # It is optional; make test-recipes has it.
        exec(compile(block, DOCS.name, "exec"), names)
    assert len(blocks) == 9
    assert names["one"].rows[0, 0] == 7
    assert names["small"].metadata["uri"].to_pylist() == names["uris"]
    np.testing.assert_array_equal(names["mapped"], names["vectors"])
    assert names["nearest"].rows[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert names["batch"].metadata["uri"].to_pylist() == [names["uris"][3], names["uris"][0]]
    assert len(names["both"]) == 49
