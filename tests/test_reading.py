"""Reading datasets with `import embeddings`: vectors, metadata, batches, lookups, search."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samples
from embeddings import DatasetError, open_dataset, opening, schema, search

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
    with pytest.raises(DatasetError, match=r"no image with the uri x.jpg \(and 1 more\)"):
        dataset.lookup(["00001.jpg", "x.jpg", "zzz"])
    for row in (-1, 9):
        with pytest.raises(IndexError, match="from 0 to 8"):
            dataset.take([row])
    with pytest.raises(ValueError, match="rows is 0"):
        list(dataset.read_batches(0))


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


@pytest.mark.parametrize(("section", "name"), [("model", "fingerprint"), ("settings", "resize")])
def test_datasets_that_do_not_fit_together_are_refused(tmp_path, random, section, name):
    vectors = random.normal(size=(4, 3)).astype(np.float32)
    for folder in ("a", "b"):
        samples.write_dataset(tmp_path / folder, vectors)
    run = json.loads((tmp_path / "b" / "run.json").read_text())
    run[section][name] = "other"
    (tmp_path / "b" / "run.json").write_text(json.dumps(run))
    what = "model" if section == "model" else name
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


def test_rows_of_another_length_are_damage(tmp_path, random):
    samples.write_dataset(tmp_path, random.normal(size=(6, 3)).astype(np.float32), parts=1)
    run = json.loads((tmp_path / "run.json").read_text())
    run["model"]["dimension"] = 4
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(DatasetError, match="rows that are no 4 numbers"):
        open_dataset(str(tmp_path)).read_vectors()


def test_reading_imports_numpy_and_pyarrow_only(tmp_path, random):
    samples.write_dataset(tmp_path, random.normal(size=(6, 3)).astype(np.float32))
    code = (
        "import sys, embeddings\n"
        f"d = embeddings.open_dataset({str(tmp_path)!r})\n"
        "embeddings.search(d, d.read_vectors()[:1]); d.lookup(['00001.jpg'])\n"
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


def test_wrong_queries_are_refused():
    vectors = np.ones((4, 3), np.float32)
    with pytest.raises(ValueError, match=r"must be \[q, 3\]"):
        search(vectors, np.ones((1, 2), np.float32))
    with pytest.raises(ValueError, match="k is 0"):
        search(vectors, vectors, 0)


def test_the_examples_of_the_docs_run(tmp_path, random, monkeypatch):
    for name, count in (("dataset", 40), ("more", 9)):
        vectors = random.normal(size=(count, 16)).astype(np.float32)
        samples.write_dataset(tmp_path / name, vectors, [f"{name}/{i}.jpg" for i in range(count)])
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.M | re.S)
    names: dict = {}
    for block in blocks:
        exec(compile(block, DOCS.name, "exec"), names)
    assert len(blocks) == 7
    np.testing.assert_array_equal(names["mapped"], names["vectors"])
    assert names["nearest"].rows[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert names["batch"].metadata["uri"].to_pylist() == [names["uris"][3], names["uris"][0]]
    assert len(names["both"]) == 49
