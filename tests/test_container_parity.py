"""Real photographs as public writers write them: hashes and embeddings are those of the folder."""

from __future__ import annotations

import pytest
from conftest import SHARED
from made_containers import make_contents, write_folder, write_parquet, write_tfrecord, write_zip
from test_containers import failures, rows

FLAGS = ("--max-failure-ratio", "1")


@pytest.fixture(scope="module")
def contents():
    """Return 250 photographs by name, or some small images where there are none."""
    files = sorted((SHARED / "data" / "photos").glob("*.JPEG"))[:250]
    return {file.name: file.read_bytes() for file in files} or make_contents(60)


@pytest.fixture(scope="module")
def folder(contents, tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("photos") / "files", contents)


def write_hugging_face(path, contents):
    datasets = pytest.importorskip("datasets")
    images = [{"bytes": content, "path": name} for name, content in contents.items()]
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict({"image": images}, features=features).to_parquet(str(path))
    return path


def write_webdataset(path, contents):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(path)) as writer:
        for name, content in contents.items():
            key, _, extension = name.partition(".")
            writer.write({"__key__": key, extension: content, "txt": name})
    return path


@pytest.mark.timeout(600)
def test_all_writers_give_what_the_folder_gives(extract, contents, folder, tmp_path):
    assert extract("--input", folder, *FLAGS, output=tmp_path / "files") == 0
    wanted = rows(tmp_path / "files"), failures(tmp_path / "files")
    assert len(wanted[0]) + len(wanted[1]) == len(contents)
    writers = {
        "parquet": (write_hugging_face, write_parquet),
        "tar": (write_webdataset,),
        "tfrecord": (write_tfrecord,),
        "zip": (write_zip,),
    }
    for kind, several in writers.items():
        for write in several:
            try:
                path = write(tmp_path / f"{write.__name__}.{kind}", contents)
            except pytest.skip.Exception:
                continue  # The writer is not installed; others of its kind stand for it.
            output = tmp_path / write.__name__
            assert extract(f"--input-{kind}", path, *FLAGS, output=output) == 0
            assert (rows(output), failures(output)) == wanted, write.__name__
