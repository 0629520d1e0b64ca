"""The whole pipeline: every image a row or a failure, the same bytes whatever the order."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import forget_models, hash_files
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import samples
from beamvec.embeddings import schema
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.resize import Resizing, choose_resizer
from beamvec.transforms.files import storage
from beamvec.transforms.inference.model_files import import_tensorflow
from beamvec.transforms.records.chunks import DecodedChunk, EmbeddedChunk


def read_run(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_every_image_is_a_row_or_a_failure(extract, dataset, photos, tmp_path, capsys):
    assert extract("--input", photos, "--max-failure-ratio", "0.5") == 0
    out = capsys.readouterr().out
    assert "23 images in" in out
    assert "top errors" in out
    made = dataset()
    embeddings, failures = made.read_embeddings(), made.read_failures()
    assert (embeddings.num_rows, failures.num_rows) == (21, 2)
    assert embeddings.schema.names == schema.table_schema("embeddings").names
    assert embeddings.schema.field("embedding").type == pa.list_(
        pa.field("element", pa.float32(), nullable=False)
    )
    errors = {
        os.path.basename(row["uri"]): (row["stage"], row["error_type"], row["size_bytes"])
        for row in failures.to_pylist()
    }
    assert errors == {
        "broken.jpg": ("decode", "OSError", 700),
        "empty.png": ("decode", "UnidentifiedImageError", 0),
    }
    counts = read_run(tmp_path / "out")["counts"]
    assert counts["inputs"] == counts["embeddings"] + counts["failures"] + counts["duplicates"]
    made = sorted(os.listdir(tmp_path / "out"))
    assert made == ["_SUCCESS", "_inputs", "embeddings", "failures", "run.json"]


@pytest.mark.parametrize("record", [DecodedChunk, EmbeddedChunk])
def test_the_local_runner_pickles_no_pixels_and_no_features(extract, photos, monkeypatch, record):
    """Beam samples the size of elements, by pickling them where it knows no better."""

    def refuse(self, protocol):
        raise AssertionError("it is pickled")

    monkeypatch.setattr(record, "__reduce_ex__", refuse)
    assert extract("--input", photos, "--max-failure-ratio", "1", "--chunk-size", "4") == 0


def test_embeddings_equal_a_direct_call_of_the_saved_model(extract, dataset, photos, model_path):
    assert extract("--input", photos, "--max-failure-ratio", "1", "--batch-size", "4") == 0
    tf = import_tensorflow()
    loaded = tf.saved_model.load(model_path)
    for row in dataset().read_embeddings().to_pylist():
        data = Path(row["uri"]).read_bytes()
        pixels = decode_image(data, Resizing(samples.SIZE, resizer=choose_resizer())).pixels
        expected = loaded(pixels[None].astype(np.float32) / 255, training=False).numpy()[0]
        np.testing.assert_allclose(row["embedding"], expected, rtol=1e-4, atol=1e-5)
        assert (row["width"], row["height"], row["size_bytes"]) == (60, 40, len(data))


def test_order_batch_chunk_threads_change_no_byte(extract, photos, tmp_path):
    files = [str(file) for file in photos.rglob("*.*") if file.suffix != ".txt"]
    reference = tmp_path / "reference"
    extract("--input", photos, "--rows-per-shard", "8", output=reference)
    expected = hash_files(reference)
    assert len(expected) == 6

    @settings(max_examples=6, deadline=None, phases=[Phase.generate], database=None)
    @given(st.permutations(files), st.integers(1, 30), st.integers(2, 40), st.integers(1, 4))
    def check(order, chunk_size, batch_size, workers):
        names = tmp_path / "list.txt"
        names.write_text("\n".join(order))
        flags = ["--input-list", names, "--chunk-size", chunk_size, "--batch-size", batch_size]
        flags += ["--rows-per-shard", 8, f"--direct_num_workers={workers}", "--overwrite"]
        assert extract(*map(str, flags)) == 1
        assert hash_files(tmp_path / "out") == expected

    check()


def test_multi_processing_changes_no_byte(model_path, photos, tmp_path, extract):
    extract("--input", photos, output=tmp_path / "reference")
    command = [sys.executable, "-m", "beamvec", "extract", "--input", photos]
    command += ["--model", model_path, "--output", tmp_path / "out", "--chunk-size", "4"]
    command += ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    assert subprocess.run(command, check=False).returncode == 1
    assert hash_files(tmp_path / "out") == hash_files(tmp_path / "reference")


def test_rows_are_sorted_and_parts_hold_all_of_them(extract, dataset, photos):
    extract("--input", photos, "--rows-per-shard", "3", "--chunk-size", "2")
    made = dataset()
    assert len(made.embedding_files) == len(made.failure_files) == 8
    total = 0
    for file in made.embedding_files:
        uris = pq.read_table(file.path)["uri"].to_pylist()
        assert uris == sorted(uris)
        total += len(uris)
    assert total == 21


def test_files_carry_the_model_and_the_settings(extract, dataset, photos, model_path):
    extract("--input", photos, "--resize", "crop")
    metadata = pq.read_schema(dataset().embedding_files[0].path).metadata[schema.METADATA_KEY]
    content = json.loads(metadata)
    assert content["model"] == model_path
    assert content["dimension"] == samples.DIMENSION
    assert content["input_size"] == samples.SIZE
    assert content["resize"] == "crop"
    assert content["precision"] == "float32"
    assert len(content["fingerprint"]) == 64


def test_the_same_uri_is_embedded_once_and_counted(extract, dataset, photos, tmp_path):
    image = photos / "group0" / "00.jpg"
    assert extract("--input", image, "--input", photos / "group0", "--input", image) == 0
    counts = read_run(tmp_path / "out")["counts"]
    assert (counts["inputs"], counts["duplicates"], counts["embeddings"]) == (13, 2, 11)
    assert dataset().read_embeddings(["uri"])["uri"].to_pylist().count(str(image)) == 1


def test_all_images_broken_gives_empty_embeddings(extract, dataset, photos):
    assert extract("--input", photos / "empty.png") == 1
    made = dataset()
    uris, vectors = made.read_uris(), made.read_vectors()
    assert (uris, vectors.shape) == ([], (0, samples.DIMENSION))
    assert made.read_failures().num_rows == 1


def test_one_load_serves_many_chunks_on_two_threads(extract, photos, tmp_path, monkeypatch):
    forget_models()
    loads = []
    tf = import_tensorflow()
    load = tf.saved_model.load
    monkeypatch.setattr(tf.saved_model, "load", lambda path: loads.append(path) or load(path))
    extract("--input", photos, "--chunk-size", "2", "--direct_num_workers=2")
    run = read_run(tmp_path / "out")
    assert run["counts"]["chunks"] == 12
    assert run["model_loads"] == len(loads) == 1


def test_special_files_are_failures_and_hang_nothing(extract, dataset, tmp_path, photos):
    folder = tmp_path / "in"
    shutil.copytree(photos / "group0", folder)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (folder / "loop").symlink_to(folder)
    (folder / "folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket.jpg"))
        names = ['quote".jpg', "space name.jpg", "new\nline.jpg", "é漢.jpg", "a" * 251 + ".jpg"]
        for name in names:
            shutil.copy(photos / "group0" / "00.jpg", folder / name)
        # What one of them would be called if it were escaped is the name of another.
        for name in (b"latin-\xe9.jpg", b"latin-\xe8.jpg", b"latin-\\udce9.jpg"):
            shutil.copy(photos / "group0" / "00.jpg", os.fsencode(folder) + b"/" + name)
        assert extract("--input", folder, "--max-failure-ratio", "1") == 0
    failures = {
        os.path.basename(r["uri"]): r["stage"] for r in dataset().read_failures().to_pylist()
    }
    assert failures == dict.fromkeys(("pipe.jpg", "dangling.jpg", "socket.jpg"), "read")
    rows = {os.path.basename(uri) for uri in dataset().read_embeddings()["uri"].to_pylist()}
    assert {*names, "latin-%E9.jpg", "latin-%E8.jpg", "latin-\\udce9.jpg"} <= rows


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_a_failure(extract, dataset, photos, tmp_path):
    shutil.copy(photos / "group0" / "00.jpg", tmp_path / "secret.jpg")
    (tmp_path / "secret.jpg").chmod(0)
    assert extract("--input", tmp_path / "secret.jpg") == 1
    assert dataset().read_failures()["error_type"].to_pylist() == ["PermissionError"]


def test_a_file_that_goes_while_the_run_goes_on_is_a_failure(
    extract, dataset, photos, tmp_path, monkeypatch
):
    folder = tmp_path / "in"
    shutil.copytree(photos / "group0", folder)
    write_file = storage.write_file

    def write_and_remove(path, content):
        if path.endswith("total.json"):  # All images are listed, none is read.
            (folder / "00.jpg").unlink(missing_ok=True)
            with (folder / "06.jpg").open("ab") as file:
                file.write(b"grown")
        write_file(path, content)

    monkeypatch.setattr(storage, "write_file", write_and_remove)
    assert extract("--input", folder, "--max-failure-ratio", "1") == 0
    (failure,) = dataset().read_failures().to_pylist()
    assert (failure["stage"], failure["error_type"]) == ("read", "FileNotFoundError")
    sizes = {Path(r["uri"]).name: r["size_bytes"] for r in dataset().read_embeddings().to_pylist()}
    assert sizes["06.jpg"] == (photos / "group0" / "06.jpg").stat().st_size + 5
