"""Everything on a remote filesystem: images, lists, manifests, model and output."""

from __future__ import annotations

import json
import random
import shutil

import disk_filesystem
import pyarrow.parquet as pq
import pytest
from conftest import forget_models, hash_files
from test_retrying import Clock

from beamvec.pipeline.commands.main import main
from beamvec.transforms.files import retrying
from beamvec.transforms.inputs.file_names import find_apple, is_image_name


@pytest.fixture
def bucket(tmp_path, monkeypatch, photos, model_path):
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "root", tmp_path / "disk")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    forget_models()
    folder = tmp_path / "disk" / "bucket"
    shutil.copytree(photos, folder / "photos")
    shutil.copytree(model_path, folder / "model")
    return folder


def extract(*flags: str) -> int:
    output = ["--output", "disk://bucket/out", "--model", "disk://bucket/model"]
    return main(["extract", *output, "--max-failure-ratio", "1", *flags])


def rows(folder, table, columns):
    files = sorted((folder / table).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file, columns=columns).to_pylist()]


def test_a_folder_gives_what_the_local_one_gives(bucket, photos, tmp_path, model_path, capsys):
    assert extract("--input", "disk://bucket/photos", "--chunk-size", "4") == 0
    local = ["extract", "--input", str(photos), "--output", str(tmp_path / "local")]
    assert main([*local, "--model", model_path, "--max-failure-ratio", "1"]) == 0
    for table, columns in (("embeddings", ["sha256", "embedding"]), ("failures", ["message"])):
        assert rows(bucket / "out", table, columns) == rows(tmp_path / "local", table, columns)
    uris = [row["uri"] for row in rows(bucket / "out", "embeddings", ["uri"])]
    assert uris[0] == "disk://bucket/photos/group0/00.jpg"
    assert not (bucket / "out" / "chunks" / "run.json").exists()
    capsys.readouterr()
    assert extract("--input", "disk://bucket/photos/") == 0
    assert "finished already" in capsys.readouterr().out


def test_lists_manifests_and_globs(bucket):
    (bucket / "list.txt").write_text("disk://bucket/photos/group0/00.jpg\ndisk://bucket/nowhere\n")
    assert extract("--input-list", "disk://bucket/list.txt") == 0
    assert len(rows(bucket / "out", "failures", ["uri"])) == 1
    (bucket / "m.csv").write_text("uri,label\ndisk://bucket/photos/group0/00.jpg,7\n")
    assert extract("--manifest", "disk://bucket/m.csv", "--overwrite") == 0
    assert rows(bucket / "out", "embeddings", ["label"]) == [{"label": 7}]
    assert extract("--input", "disk://bucket/photos/*/*.PNG", "--overwrite") == 0
    assert len(rows(bucket / "out", "embeddings", ["uri"])) == 7


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input", "disk://bucket/nothing"], "no such file or folder"),
        (["--input-list", "disk://bucket/nothing"], "cannot read --input-list"),
        (["--input", "disk://bucket/photos", "--model", "disk://bucket/no"], "no model at"),
        (["--input", "s3://bucket/photos"], "pip install 'beamvec[aws]'"),
        (["--input", "gs://bucket/photos"], "pip install 'beamvec[gcp]'"),
    ],
)
@pytest.mark.usefixtures("bucket")
def test_mistakes_end_with_2(flags, message, capsys, monkeypatch):
    monkeypatch.setattr("beamvec.transforms.files.storage.is_installed", lambda _: False)
    assert extract(*flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.fixture
def faults(monkeypatch):
    """One of twenty reads fails, and retries do not wait."""
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "faults", random.Random(0))
    monkeypatch.setattr(retrying, "time", Clock())


def test_transient_faults_are_retried_and_counted(bucket, faults):  # noqa: ARG001
    uris = [f"disk://bucket/photos/group0/{i:02d}.jpg" for i in (0, 6, 12, 18)]
    for i in range(100):
        shutil.copy(bucket / "photos/group0/00.jpg", bucket / f"photos/{i}.jpg")
        uris.append(f"disk://bucket/photos/{i}.jpg")
    (bucket / "list.txt").write_text("\n".join(uris))
    assert extract("--input-list", str(bucket / "list.txt")) == 0
    counts = json.loads((bucket / "out" / "run.json").read_text())["counts"]
    assert counts["embeddings"] == 104
    assert counts["read_retries"] > 0


def test_lasting_faults_end_in_failure_rows(bucket, faults, monkeypatch, model_path):  # noqa: ARG001
    monkeypatch.setattr(disk_filesystem.DiskFileSystem.faults, "random", lambda: 0.01)
    (bucket / "list.txt").write_text("disk://bucket/photos/group0/00.jpg")
    flags = ["--input-list", str(bucket / "list.txt"), "--output", str(bucket / "out")]
    assert extract(*flags, "--model", model_path) == 0
    (row,) = rows(bucket / "out", "failures", ["stage", "error_type", "message"])
    assert (row["stage"], row["error_type"]) == ("read", "ConnectionResetError")
    assert "connection reset by peer" in row["message"]


def count_images(folder):
    files = [str(file) for file in folder.rglob("*")]
    return sum(is_image_name(file) and not find_apple(file) for file in files)


def test_real_data_with_read_faults_gives_the_same_dataset(
    shared, tmp_path, monkeypatch, model_path
):
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "root", shared)
    monkeypatch.setattr(retrying, "time", Clock())
    flags = ["extract", "--input", "disk://data", "--model", model_path]
    flags += ["--max-failure-ratio", "1", "--output"]
    assert main([*flags, str(tmp_path / "without")]) == 0
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "faults", random.Random(1))
    assert main([*flags, str(tmp_path / "with")]) == 0
    assert hash_files(tmp_path / "with") == hash_files(tmp_path / "without")
    counts = json.loads((tmp_path / "with" / "run.json").read_text())["counts"]
    assert counts["inputs"] == count_images(shared / "data")
    assert counts["read_retries"] > 30
