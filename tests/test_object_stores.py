"""Images, lists, manifests, model and output on S3 and GCS, with and without faults between."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import forget_models, hash_files

from beamvec.embeddings import open_dataset
from beamvec.pipeline.commands.main import main
from beamvec.transforms.files import gcs_session, retrying, s3
from beamvec.transforms.inputs.patterns import Patterns
from object_stores import BUCKET, FAULTS, STORES, enter, leave

TABLES = ("embeddings", "failures")


@pytest.fixture(scope="module", params=STORES)
def filled(request, photos, model_path):
    """A store with the photographs and the model."""
    store = STORES[request.param]()
    for name, folder in (("photos", photos), ("model", Path(model_path))):
        for file in folder.rglob("*"):
            if file.is_file():
                store.upload(f"{name}/{file.relative_to(folder)}", file.read_bytes())
    # Consoles of stores mark folders with empty objects.
    store.upload("photos/", b"")
    store.upload("model/variables/", b"")
    uris = [f"{store.scheme}://{BUCKET}/{key}" for key in store.download("photos/group")]
    lines = [*uris, uris[0], f"{store.scheme}://{BUCKET}/photos/gone.jpg"]
    store.upload("list.txt", "\n".join(lines).encode())
    store.upload("images.csv", f"uri,label\n{uris[0]},7\n".encode())
    yield store
    store.stop()


@pytest.fixture
def store(filled, tmp_path, monkeypatch):
    """The store, where its own tools find it, as in a process that has not asked it before."""
    enter(filled, tmp_path, monkeypatch)
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    forget_models()
    yield filled
    leave(filled, "out")


@pytest.fixture(scope="module")
def local(photos, model_path, tmp_path_factory):
    """The dataset of the same images and the same model, all of it on local files."""
    output = tmp_path_factory.mktemp("local") / "out"
    flags = ["--input", str(photos), "--model", model_path, "--output", str(output)]
    assert main(["extract", *flags, "--max-failure-ratio", "1"]) == 0
    return output


def extract(store, *flags: str, **replaced: str) -> int:
    """Run `beamvec extract`, with {} in the flags standing for the bucket's URI."""
    options = {"output": "{}/out", "model": "{}/model", **replaced}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    root = f"{store.scheme}://{BUCKET}"
    words = [word.format(root) for word in [*words, *flags]]
    return main(["extract", "--max-failure-ratio", "1", *words])


def rows(contents: dict[str, bytes], table: str) -> list[dict]:
    """Return a table's rows without their URIs."""
    files = [contents[name] for name in sorted(contents) if f"{table}/" in name]
    read = [pq.read_table(io.BytesIO(file)).drop_columns("uri").to_pylist() for file in files]
    return [row for part in read for row in part]


def test_a_folder_gives_what_the_local_one_gives(store, local, capsys):
    assert extract(store, "--input", "{}/photos", "--chunk-size", "10") == 0
    written = store.download("out/")
    expected = {str(file): file.read_bytes() for file in local.rglob("*.parquet")}
    for table in TABLES:
        assert rows(written, table) == rows(expected, table)
    assert len(rows(written, "embeddings")) == 21
    assert {name.split("/")[1] for name in written} == {*TABLES, "_inputs", "run.json", "_SUCCESS"}
    capsys.readouterr()
    assert extract(store, "--input", "{}/photos/") == 0
    assert "finished already" in capsys.readouterr().out
    assert extract(store, "--input", "{}") == 0
    assert "finished already" in capsys.readouterr().out
    assert extract(store, "--input", "{}/photos/group0") == 2
    assert "another input" in capsys.readouterr().err
    assert main(["inspect", f"{store.scheme}://{BUCKET}/out"]) == 0
    assert "23 inputs = 21 embeddings + 2 failures" in capsys.readouterr().out


def test_a_name_with_brackets_is_no_pattern(store):
    """In a pattern, out[1] would be out1."""
    assert extract(store, "--input", "{}/photos", output="{}/out1") == 0
    before = store.download("out1/")
    for flags in ([], ["--append"], ["--overwrite", "--rows-per-shard", "5"]):
        assert extract(store, "--input", "{}/photos/group0", *flags, output="{}/out[1]") == 0
    assert store.download("out1/") == before
    written = store.download("out[1]/")
    assert len(rows(written, "embeddings")) == 11
    assert not any("chunks" in name or name.endswith(".tmp") for name in written)


def test_a_dataset_in_a_store_is_read_searched_and_shown(store, local, tmp_path, capsys):
    assert extract(store, "--input", "{}/photos", "--rows-per-shard", "5") == 0
    path = f"{store.scheme}://{BUCKET}/out"
    dataset, expected = open_dataset(path), open_dataset(str(local))
    uris = dataset.read_uris()
    assert len(dataset.embedding_files) == 5
    order = [str(local_uri) for local_uri in expected.read_uris()]
    names = [name.rpartition("/")[2] for name in order]
    rows_ = [names.index(uri.rpartition("/")[2]) for uri in uris]
    np.testing.assert_array_equal(dataset.read_vectors(), expected.read_vectors()[rows_])
    np.testing.assert_array_equal(dataset.lookup(uris[3:5]).vectors, dataset.take([3, 4]).vectors)
    capsys.readouterr()
    page = tmp_path / "page.html"
    flags = ["--uri", uris[0], "--k", "3", "--html", str(page)]
    assert main(["search", path, *flags]) == 0
    assert page.read_text().count("data:image/webp") == 4
    flags = ["--model", f"{store.scheme}://{BUCKET}/model", "--k", "1"]
    assert main(["search", path, "--image", uris[0], *flags]) == 0
    assert f"1.0000  {uris[0]}" in capsys.readouterr().out
    assert main(["inspect", path, "--verify"]) == 0


def test_a_list_gives_the_same_bytes_in_the_store_and_on_disk(store, tmp_path):
    assert extract(store, "--input-list", "{}/list.txt") == 0
    assert extract(store, "--input-list", "{}/list.txt", output=str(tmp_path / "out")) == 0
    written = store.download("out/")
    for name, content in written.items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(content)
    assert hash_files(tmp_path / "copy" / "out") == hash_files(tmp_path / "out")
    (failure,) = [row for row in rows(written, "failures") if row["stage"] == "read"]
    assert failure["error_type"] == "FileNotFoundError"
    assert "photos/gone.jpg" in failure["message"]


def test_manifests_and_globs(store):
    assert extract(store, "--manifest", "{}/images.csv") == 0
    assert [row["label"] for row in rows(store.download("out/"), "embeddings")] == [7]
    pattern = f"{store.scheme}://{BUCKET}/photos/*/*.PNG"
    assert len(list(Patterns((pattern,)).list_images())) == 7


def test_an_append_adds_what_is_missing(store):
    assert extract(store, "--input", "{}/photos/group0") == 0
    assert extract(store, "--input", "{}/photos", "--append") == 0
    written = store.download("out/")
    assert len(rows(written, "embeddings")) == 21
    assert not [name for name in written if "chunks" in name or name.endswith((".tmp", "_LOCK"))]


def test_faults_between_change_nothing(store, local):
    store.proxy.fault_ratio = 0.4
    assert extract(store, "--input", "{}/photos") == 0
    assert set(store.proxy.injected) == set(FAULTS)
    written = store.download("out/")
    expected = {str(file): file.read_bytes() for file in local.rglob("*.parquet")}
    for table in TABLES:
        assert rows(written, table) == rows(expected, table)


PHOTOS = ("--input", "{}/photos")


@pytest.fixture
def impatient(monkeypatch):
    """Nobody waits long for a store that fails."""
    monkeypatch.setattr(retrying, "FIRST_DELAY_S", 0.005)
    monkeypatch.setattr(retrying, "TRANSIENT_S", 0.2)
    for module in (s3, gcs_session):
        monkeypatch.setattr(module, "READ_TIMEOUT_S", 0.3)


@pytest.mark.parametrize("kind", ["lost", "reset", "slow_down", "failed", "stalled"])
@pytest.mark.usefixtures("impatient")
def test_faults_of_every_kind_change_nothing(store, local, kind, monkeypatch):
    monkeypatch.setattr(retrying, "TRANSIENT_S", 60.0)
    for name in ("photos", "_LOCK", "chunks", "embeddings", "run.json", "_SUCCESS"):
        for method in ("GET", "HEAD", "DELETE", store.write):
            if kind != "stalled" or method == "GET":
                store.proxy.inject(kind, method, name, times=3)
    assert extract(store, *PHOTOS) == 0
    assert store.proxy.injected[kind] > 8
    written = store.download("out/")
    expected = {str(file): file.read_bytes() for file in local.rglob("*.parquet")}
    for table in TABLES:
        assert rows(written, table) == rows(expected, table)
    assert {name.split("/")[1] for name in written} == {*TABLES, "_inputs", "run.json", "_SUCCESS"}


@pytest.mark.parametrize("kind", ["reset", "failed", "denied"])
@pytest.mark.usefixtures("impatient")
def test_an_image_that_cannot_be_read_costs_a_row(store, kind):
    for method in ("GET", "HEAD"):
        store.proxy.inject(kind, method, "group0/06.jpg", times=1000)
    uri = f"{store.scheme}://{BUCKET}/photos/group0/06.jpg"
    store.upload("out.txt", f"{uri}\n{uri[:-6]}0.jpg\n{uri.replace('06', '12')}".encode())
    assert extract(store, "--input-list", "{}/out.txt") == 0
    failures = rows(store.download("out/"), "failures")
    read = [row for row in failures if row["stage"] == "read"]
    expected = "PermissionError" if kind == "denied" else "StoreError"
    assert expected in [row["error_type"] for row in read]


@pytest.mark.parametrize("name", ["_LOCK", "chunks", "embeddings", "run.json"])
def test_credentials_that_run_out_end_a_run_in_one_line(store, name, capsys):
    store.proxy.inject("denied", store.write, f"out/{name}", times=1000)
    # Where it takes long, progress would be among what is on standard error.
    assert extract(store, *PHOTOS, "--quiet") in (2, 3)
    assert "Access denied" in read_complaint(capsys)
    store.proxy.forget()
    assert extract(store, *PHOTOS) == 0


MISTAKES = {
    "input, key": (["--input", "{}/nothing"], {}, "no such file or folder"),
    "input, bucket": (["--input", "{}-not/photos"], {}, "-not/photos"),
    "list, key": (["--input-list", "{}/nothing"], {}, "cannot read --input-list"),
    "manifest, key": (["--manifest", "{}/nothing.csv"], {}, "cannot read --manifest"),
    "model, key": (PHOTOS, {"model": "{}/nothing"}, "no model at"),
    "model, bucket": (PHOTOS, {"model": "{}-not/model"}, "model"),
    "output, bucket": (PHOTOS, {"output": "{}-not/out"}, "cannot write to --output"),
}


def read_complaint(capsys) -> str:
    """Return what is on standard error, which must be one line."""
    error = capsys.readouterr().err
    assert error.startswith("beamvec: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(("flags", "replaced", "message"), MISTAKES.values(), ids=MISTAKES)
def test_what_is_missing_ends_with_2(store, flags, replaced, message, capsys):
    assert extract(store, *flags, **replaced) == 2
    assert message in read_complaint(capsys)
    assert not store.download("out")


@pytest.mark.parametrize("part", ["input", "model", "output"])
def test_wrong_credentials_end_with_2(store, part, photos, model_path, tmp_path, capsys):
    store.deny(True)
    uris = {"input": str(photos), "model": model_path, "output": str(tmp_path / "out")}
    uris[part] = f"{{}}/{part}"
    assert extract(store, **uris) == 2
    error = read_complaint(capsys)
    assert uris[part].format(f"{store.scheme}://{BUCKET}") in error
    assert any(reason in error for reason in ("Access denied", "Invalid JWT Signature"))


def test_without_credentials_s3_is_refused_at_once(store, monkeypatch, capsys):
    if store.scheme != "s3":
        pytest.skip("Beam asks GCS as nobody where there are no credentials")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert extract(store, *PHOTOS) == 2
    assert "no credentials for s3://; set AWS_PROFILE" in read_complaint(capsys)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert extract(store, *PHOTOS) == 2
    assert "nobody" in read_complaint(capsys)


def test_inspect_tells_in_one_line_what_it_cannot_open(store, capsys):
    assert main(["inspect", f"{store.scheme}://{BUCKET}/nothing"]) == 2
    assert "no finished dataset" in read_complaint(capsys)
