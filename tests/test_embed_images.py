"""`beamvec.EmbedImages` in pipelines of others."""

from __future__ import annotations

import pickle
import typing
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.transforms.error_handling import ErrorHandler
from apache_beam.typehints.schemas import named_fields_from_element_type

import beamvec
import samples

ROW = ("embedding", "sha256", "width", "height", "format", "size_bytes")


class Labelled(NamedTuple):
    """A row of somebody's table."""

    label: str
    uri: str
    weight: float


@pytest.fixture
def embed(model_path, tmp_path):
    """Run a pipeline of some elements; return the rows of both outputs."""

    def run(elements, type_=None, **options):
        with beam.Pipeline("FnApiRunner") as pipeline:
            made = pipeline | beam.Create(elements)
            if type_ is not None:
                made = made | beam.Map(lambda each: each).with_output_types(type_)
            found = made | beamvec.EmbedImages(model=model_path, **options)
            for table, rows in found.items():
                rows | f"Write{table}" >> beam.io.WriteToParquet(str(tmp_path / table))
        return tuple(
            [row for file in sorted(tmp_path.glob(f"{table}-*")) for row in read(file)]
            for table in ("embeddings", "failures")
        )

    return run


def read(file):
    return pq.read_table(file).to_pylist()


def jpegs(photos):
    return sorted(map(str, (photos / "group0").glob("*.jpg")))


def test_uris_give_the_rows_of_extract(embed, extract, dataset, photos):
    extract("--input", photos, "--max-failure-ratio", "1")
    uris = [*dataset().read_uris(), *dataset().read_failures()["uri"].to_pylist()]
    rows, failures = embed(uris)
    expected = dataset().read_embeddings().to_pylist()
    assert sorted(rows, key=lambda row: row["uri"]) == sorted(expected, key=lambda row: row["uri"])
    expected = dataset().read_failures().to_pylist()
    by_uri = sorted(failures, key=lambda row: row["uri"])
    assert by_uri == sorted(expected, key=lambda row: row["uri"])


def test_keys_ride_along_of_uris(embed, photos):
    images = jpegs(photos)
    rows, failures = embed([(i, uri) for i, uri in enumerate([*images, "/nowhere.jpg"])])
    assert {row["key"]: row["uri"] for row in rows} == dict(enumerate(images))
    assert [(row["key"], row["uri"], row["stage"]) for row in failures] == [
        (len(images), "/nowhere.jpg", "read")
    ]
    assert failures[0]["size_bytes"] is None


def test_bytes_give_what_their_files_give(embed, photos):
    images = jpegs(photos)
    by_uri = {row["uri"]: row for row in embed(images)[0]}
    contents = [(uri, Path(uri).read_bytes()) for uri in images]
    rows, failures = embed([*contents, ("broken", b"no image"), ("empty", b"")])
    rows = [row for row in rows if "key" in row]
    assert len(rows) == len(images)
    for row in rows:
        assert {name: row[name] for name in ROW} == {name: by_uri[row["key"]][name] for name in ROW}
        assert "uri" not in row
    assert {row["key"]: row["stage"] for row in failures} == {"broken": "decode", "empty": "decode"}


def test_columns_of_rows_ride_along(embed, photos):
    images = jpegs(photos)
    rows, _ = embed([Labelled(f"l{i}", uri, i / 2) for i, uri in enumerate(images)], Labelled)
    assert list(rows[0]) == ["label", "weight", "uri", *ROW]
    assert {(row["label"], row["weight"], row["uri"]) for row in rows} == {
        (f"l{i}", i / 2, uri) for i, uri in enumerate(images)
    }


def test_another_column_can_hold_the_uri(embed, photos):
    (image, *_) = jpegs(photos)
    rows, failures = embed([beam.Row(path=image, n=1), beam.Row(path="", n=2)], uri_column="path")
    assert [(row["n"], row["uri"]) for row in rows] == [(1, image)]
    assert [row["n"] for row in failures] == [2]


def test_nan_and_the_same_uri_twice_are_rows_each(embed, photos, tmp_path):
    red = tmp_path / "red.png"
    samples.Image.new("RGB", (50, 50), (255, 0, 0)).save(red)
    (image, *_) = jpegs(photos)
    rows, failures = embed([image, image, str(red)])
    assert [row["uri"] for row in rows] == [image, image]
    assert [(row["uri"], row["stage"]) for row in failures] == [(str(red), "infer")]


def test_failures_that_nothing_uses_stop_the_pipeline(model_path):
    pipeline = beam.Pipeline("FnApiRunner")
    found = pipeline | beam.Create(["a.jpg"]) | beamvec.EmbedImages(model=model_path)
    found["embeddings"] | beam.Map(print)
    with pytest.raises(beamvec.ArgumentError, match="nothing uses the failures"):
        pipeline.run()


def test_an_error_handler_takes_the_failures(model_path, photos, tmp_path):
    (image, *_) = jpegs(photos)
    with beam.Pipeline("FnApiRunner") as pipeline:
        with ErrorHandler("Bad" >> beam.io.WriteToParquet(str(tmp_path / "bad"))) as handler:
            transform = beamvec.EmbedImages(model=model_path).with_error_handler(handler)
            rows = pipeline | beam.Create([image, "/nowhere"]) | transform
        rows | beam.io.WriteToParquet(str(tmp_path / "good"))
    (good,), (bad,) = tmp_path.glob("good*"), tmp_path.glob("bad*")
    assert [row["uri"] for row in read(good)] == [image]
    assert [row["uri"] for row in read(bad)] == ["/nowhere"]


@pytest.mark.parametrize(
    ("elements", "options", "message"),
    [
        ([1, 2], {}, "EmbedImages cannot embed"),
        ([("a", "b", "c")], {}, "EmbedImages cannot embed"),
        ([beam.Row(url="a")], {}, "have no text of that name, but url"),
        ([beam.Row(uri=1)], {}, "have no text of that name, but uri"),
        ([beam.Row(uri="a", width=3)], {}, "'width', which is one of the output"),
    ],
)
def test_inputs_that_cannot_be_embedded_are_refused_when_built(
    model_path, elements, options, message
):
    with pytest.raises(beamvec.ArgumentError, match=message):
        _ = (
            beam.Pipeline("FnApiRunner")
            | beam.Create(elements)
            | beamvec.EmbedImages(model=model_path, **options)
        )


@pytest.mark.parametrize(
    "options", [{"resize": "strech"}, {"engine": "jax"}, {"batch_size": 1}, {"precision": "int3"}]
)
def test_arguments_are_checked_when_it_is_made(options):
    with pytest.raises(beamvec.ArgumentError, match="`"):
        beamvec.EmbedImages(**options)


def test_it_can_be_sent_to_workers(model_path):
    pickle.loads(pickle.dumps(beamvec.EmbedImages(model=model_path)))


def test_what_comes_out_has_a_schema_that_other_transforms_take(model_path):
    rows = beam.Pipeline("FnApiRunner") | beam.Create([Labelled("a", "b.jpg", 1.0)])
    found = rows | beamvec.EmbedImages(model=model_path)
    ours = {
        "embedding": typing.Sequence[np.float32],
        "sha256": str,
        "width": np.int32,
        "height": np.int32,
        "format": str,
        "size_bytes": np.int64,
    }
    own = {"label": str, "weight": np.float64, "uri": str}
    fields = dict(named_fields_from_element_type(found["embeddings"].element_type))
    assert fields == {**own, **ours}
    fields = dict(named_fields_from_element_type(found["failures"].element_type))
    why = {"stage": str, "error_type": str, "message": str, "size_bytes": np.int64 | None}
    assert fields == {**own, **why}


def test_batches_change_nothing(embed, photos):
    images = jpegs(photos)
    small = {row["uri"]: row["embedding"] for row in embed(images, batch_size=2)[0]}
    large = {row["uri"]: row["embedding"] for row in embed(images, batch_size=64)[0]}
    for uri in images:
        np.testing.assert_array_equal(small[uri], large[uri])
