"""Reading the datasets that a run writes, and the files themselves."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from beamvec.embeddings import DatasetError, open_dataset
from beamvec.pipeline.commands.main import main


def test_vectors_come_with_their_uris(extract, dataset, photos):
    extract("--input", photos, "--rows-per-shard", "5", "--max-failure-ratio", "1")
    uris, vectors = dataset().read_uris(), dataset().read_vectors()
    assert vectors.dtype == np.float32
    assert vectors.shape == (21, 16)
    rows = dataset().read_embeddings().to_pylist()
    assert uris == [row["uri"] for row in rows]
    np.testing.assert_array_equal(vectors, [row["embedding"] for row in rows])


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


def test_run_json_is_plain_json(extract, photos, tmp_path):
    extract("--input", photos, "--max-failure-ratio", "1")
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert {"settings", "model", "versions", "counts", "timings", "input", "failures"} <= set(run)
    assert run["timings"]["infer_s"] > 0
    assert run["failures"][0]["count"] == 1
