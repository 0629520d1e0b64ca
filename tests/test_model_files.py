"""The files of a model: fetched, cached, refused, fingerprinted."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import time
from pathlib import Path

import disk_filesystem
import pytest
from conftest import forget_models
from hub import Hub, pack

import samples
from beamvec.embeddings import open_dataset
from beamvec.errors import ModelError
from beamvec.pipeline.commands.main import main
from beamvec.transforms.files import storage
from beamvec.transforms.inference import hub as inference_hub
from beamvec.transforms.inference import model_files
from beamvec.transforms.inference.description import describe_model, write_description
from beamvec.transforms.inference.model_files import ModelFiles


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Give each test a cache of downloaded models and of loaded ones."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(inference_hub, "DOWNLOAD_TIMEOUT_S", 1.0)
    forget_models()


def fingerprint_of(path: str | Path) -> str:
    return ModelFiles.fetch(str(path)).fingerprint()


def identity(images):
    return {"features": images}


def test_a_hub_is_asked_once_then_the_cache_serves(extract, photos, model_path, tmp_path):
    with Hub(body=pack(model_path)) as hub:
        assert extract("--input", photos / "group0", model=hub.url) == 0
        assert hub.requests == ["/google/imagenet/resnet/1?tf-hub-format=compressed"]
        forget_models()
        assert extract("--input", photos / "group1", model=hub.url, output=tmp_path / "b") == 0
        assert len(hub.requests) == 1
    forget_models()
    assert extract("--input", photos / "group1", model=hub.url, output=tmp_path / "c") == 0


@pytest.mark.parametrize(
    ("hub", "message"),
    [
        ({"status": 404}, "the server answered 404"),
        ({"status": 500}, "the server answered 500"),
        ({"body": b"<html>sign in</html>"}, "cannot fetch the model"),
        ({"body": b""}, "cannot fetch the model"),
        ({"silent": True}, "timed out"),
    ],
)
def test_a_broken_hub_ends_with_2_and_says_what_to_do(extract, photos, capsys, hub, message):
    with Hub(**hub) as server:
        started = time.monotonic()
        assert extract("--input", photos, model=server.url) == 2
        assert time.monotonic() - started < 30  # A hang would last for ever.
    error = capsys.readouterr().err
    assert message in error
    assert "give the path of a model instead, or make one with `beamvec model export" in error
    assert error.count("\n") == 1


def test_half_an_archive_is_refused_and_not_cached(extract, photos, model_path, capsys):
    whole = pack(model_path)
    with Hub(body=whole[: len(whole) // 4]) as hub:  # Within a file: there it shows.
        assert extract("--input", photos, model=hub.url) == 2
        assert "cannot fetch the model" in capsys.readouterr().err
        hub.body = whole
        assert extract("--input", photos / "group0", model=hub.url) == 0


def test_a_model_that_lacks_files_says_what_to_remove(
    extract, photos, model_path, capsys, tmp_path
):
    part = tmp_path / "part"
    shutil.copytree(model_path, part)
    for file in (part / "variables").iterdir():
        file.unlink()
    with Hub(body=pack(part)) as hub:
        assert extract("--input", photos, model=hub.url) == 2
        error = capsys.readouterr().err
        found = re.search(r"cut short, remove (\S+) to have it fetched again", error)
        shutil.rmtree(found[1])
        hub.body = pack(model_path)
        assert extract("--input", photos / "group0", model=hub.url) == 0


@pytest.mark.parametrize("name", ["../outside/evil", "/tmp/beamvec-evil"])
def test_an_archive_cannot_write_outside_of_its_folder(
    extract, photos, model_path, tmp_path, capsys, name
):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(model_path, arcname=".")
        archive.addfile(tarfile.TarInfo(name))
    with Hub(body=buffer.getvalue()) as hub:
        code = extract("--input", photos / "group0", model=hub.url)
    if ".." in name:
        assert code == 2
        assert "cannot fetch the model" in capsys.readouterr().err
    assert not list(tmp_path.rglob("evil"))
    assert not Path("/tmp/beamvec-evil").exists()


def test_nothing_listening_ends_with_2(extract, photos, capsys):
    assert extract("--input", photos, model="http://127.0.0.1:9/model") == 2
    assert "beamvec model export" in capsys.readouterr().err


def test_secrets_in_a_url_are_shown_nowhere(extract, photos, model_path, tmp_path, capsys):
    secret = "http://user:hunter2@127.0.0.1:{}/model?token=hunter2"
    assert extract("--input", photos, model=secret.format(9)) == 2
    samples.save_model(str(tmp_path / "no_model"), identity)
    with Hub(body=pack(tmp_path / "no_model")) as hub:
        assert extract("--input", photos, model=f"{hub.url}?token=hunter2") == 2
    with Hub(body=pack(model_path)) as hub:
        url = f"{hub.url}?token=hunter2"
        assert extract("--input", photos / "group0", model=url) == 0
        assert main(["model", "check", url]) == 0
        (tmp_path / "list").write_text(f"{hub.url}/a.jpg?token=hunter2")
        assert extract("--input-list", tmp_path / "list", model=url, output=tmp_path / "b") == 1
    assert main(["inspect", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "hunter2" not in shown.out + shown.err
    for output in ("out", "b"):
        assert "hunter2" not in (tmp_path / output / "run.json").read_text()
    failures = open_dataset(str(tmp_path / "b")).read_failures()
    assert "hunter2" not in failures["message"][0].as_py()


def test_what_is_no_saved_model_is_refused(tmp_path, model_path, capsys):
    (tmp_path / "empty").mkdir()
    damaged = tmp_path / "damaged"
    shutil.copytree(model_path, damaged)
    (damaged / "saved_model.pb").write_bytes(b"garbage")
    without = tmp_path / "without"
    shutil.copytree(model_path, without)
    shutil.rmtree(without / "variables")
    for path in (tmp_path / "nowhere", tmp_path / "empty", damaged, without):
        assert main(["model", "check", str(path)]) == 2
        error = capsys.readouterr().err
        assert str(path) in error
        assert error.count("\n") == 1


def test_the_fingerprint_is_of_the_content(tmp_path, model_path):
    copy = tmp_path / "copy"
    shutil.copytree(model_path, copy, copy_function=shutil.copy)
    assert fingerprint_of(copy) == fingerprint_of(model_path)
    (copy / "README").write_text("changes nothing")
    assert fingerprint_of(copy) == fingerprint_of(model_path)
    for file in sorted(copy.glob("variables/*")):
        content = file.read_bytes()
        file.write_bytes(content + b"x")
        assert fingerprint_of(copy) != fingerprint_of(model_path)
        file.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda _: None, "no such folder or file; it takes the folder of a SavedModel"),
        (lambda path: path.mkdir(), "the folder holds no saved_model.pb"),
        (lambda path: path.write_text(""), "it takes the folder of a SavedModel, an .onnx file"),
        (
            lambda path: (path.mkdir(), (path / "a.keras").touch()),
            "the folder holds no saved_model.pb",
        ),
    ],
)
def test_what_is_no_model_is_refused_before_anything_is_loaded(tmp_path, make, told):
    make(tmp_path / "m")
    with pytest.raises(ModelError, match=f"no model at {tmp_path}/m: {told}"):
        ModelFiles.fetch(str(tmp_path / "m"))


def test_models_in_folders_of_a_folder_are_named(tmp_path, model_path):
    (tmp_path / "m" / "onnx").mkdir(parents=True)
    (tmp_path / "m" / "onnx" / "model.onnx").touch()
    shutil.copytree(model_path, tmp_path / "m" / "saved")
    told = f"give one of those in it: {tmp_path}/m/onnx/model.onnx, {tmp_path}/m/saved"
    with pytest.raises(ModelError, match=told):
        ModelFiles.fetch(str(tmp_path / "m"))


def test_a_home_is_found(model_path, monkeypatch):
    monkeypatch.setenv("HOME", str(Path(model_path).parent))
    files = ModelFiles.fetch(f"~/{Path(model_path).name}")
    assert (files.path, files.format) == (model_path, "saved_model")


@pytest.mark.parametrize(
    ("note", "weights"),
    [('{"weights": "random"}', "random"), ("{}", None), (None, None)],
)
def test_a_note_on_the_weights_is_read_if_it_is_one(tmp_path, note, weights):
    files = ModelFiles("m", str(tmp_path))
    if note is not None:
        (tmp_path / "assets.extra").mkdir()
        (tmp_path / "assets.extra" / "beamvec.json").write_text(note)
    assert describe_model(files).notes.get("weights") == weights


def test_a_note_on_the_weights_does_not_change_the_fingerprint(tmp_path, model_path):
    copy = tmp_path / "m"
    shutil.copytree(model_path, copy)
    files = ModelFiles.fetch(str(copy))
    write_description(files, {}, {"weights": "file"})
    assert describe_model(files).notes == {"weights": "file"}
    assert fingerprint_of(copy) == fingerprint_of(model_path)


def test_files_that_are_gone_are_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="cannot read the model m: "):
        ModelFiles("m", str(tmp_path)).fingerprint()


@pytest.fixture
def bucket(tmp_path, monkeypatch, model_path):
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "root", tmp_path / "disk")
    shutil.copytree(model_path, tmp_path / "disk" / "bucket" / "m")
    return tmp_path / "disk" / "bucket" / "m"


def test_a_model_in_a_store_is_copied_once_and_anew_when_it_changes(bucket, model_path):
    first = ModelFiles.fetch("disk://bucket/m/")
    assert first.fingerprint() == fingerprint_of(model_path)
    assert ModelFiles.fetch("disk://bucket/m").path == first.path
    with (bucket / "saved_model.pb").open("ab") as file:
        file.write(b"x")
    again = ModelFiles.fetch("disk://bucket/m")
    assert again.path != first.path
    assert again.fingerprint() == fingerprint_of(bucket)


def test_half_a_copy_is_never_a_model(bucket, tmp_path, monkeypatch):
    def fail(_):
        raise ConnectionResetError("reset")

    assert bucket.exists()
    with monkeypatch.context() as patch:
        patch.setattr(storage, "read_bytes", fail)
        with pytest.raises(ModelError, match="cannot fetch the model disk://bucket/m: reset"):
            ModelFiles.fetch("disk://bucket/m")
    assert not any((tmp_path / "cache").glob("*/*"))
    assert ModelFiles.fetch("disk://bucket/m").fingerprint()


@pytest.mark.parametrize(
    ("error", "line"),
    [("one\ntwo", "one"), (" \n x", "x"), (ValueError(""), "ValueError"), (OSError("a"), "a")],
)
def test_the_first_line_of_an_error_tells_most(error, line):
    assert model_files.first_line(error) == line
