"""Lists of URIs."""

from __future__ import annotations

import gc
import gzip
import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beamvec.errors import InputError
from beamvec.pipeline.commands.main import main
from beamvec.transforms.inputs.uri_list import UriList
from beamvec.transforms.records.own_columns import NO_COLUMNS


def uris(path) -> list[str]:
    return [ref.uri for ref in UriList((str(path),)).list_images()]


def test_lists_are_taken_line_by_line(tmp_path):
    file = tmp_path / "list.txt"
    file.write_bytes(b"\xef\xbb\xbfa.jpg\r\n\r\n b c.jpg \ngs://bucket/d.jpg\nlatin-\xe9.jpg")
    assert uris(file) == ["a.jpg", "b c.jpg", "gs://bucket/d.jpg", "file://latin-%E9.jpg"]


def test_a_compressed_list_is_read(tmp_path):
    file = tmp_path / "list.gz"
    file.write_bytes(gzip.compress(b"a.jpg\nb.jpg\n"))
    assert uris(file) == ["a.jpg", "b.jpg"]


def test_a_uri_comes_as_often_as_it_is_named(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("a.jpg\na.jpg\n")
    assert uris(file) == ["a.jpg", "a.jpg"]


def test_a_list_has_no_columns_of_its_own(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("\n\na.jpg\n")
    source = UriList((str(file),))
    assert source.check() == source
    assert source.find_columns() == NO_COLUMNS
    assert source.find_some(1)[0].uri == "a.jpg"


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff\n"])
def test_an_empty_list_is_refused(tmp_path, content):
    file = tmp_path / "list.txt"
    file.write_text(content)
    with pytest.raises(InputError, match="is empty: it needs one URI a line"):
        UriList((str(file),)).check()


def test_a_list_that_cannot_be_read_is_refused(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match=f"cannot read `input_list={path}`: "):
            UriList((str(path),)).check()


def test_uris_of_a_list_stay_as_written(extract, dataset, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    (tmp_path / "list.txt").write_text("group0/00.jpg\r\n\n  group0/06.jpg\n")
    assert extract("--input-list", tmp_path / "list.txt") == 0
    assert dataset().read_embeddings()["uri"].to_pylist() == ["group0/00.jpg", "group0/06.jpg"]


@contextmanager
def pipe_of(text: str, descriptor: int | None = None) -> Iterator[str]:
    """Have a pipe give a text, as process substitution does, under a number if one is given."""
    read, write = os.pipe()
    threading.Thread(target=lambda: (os.write(write, text.encode()), os.close(write))).start()
    before = os.dup(descriptor) if descriptor is not None else None
    if before is not None:
        os.dup2(read, descriptor)
    try:
        yield f"/dev/fd/{read}"
    finally:
        os.close(read)
        if before is not None:
            os.dup2(before, descriptor)
            os.close(before)


def list_of(photos: Path) -> str:
    return "".join(f"{file}\n" for file in sorted(photos.glob("group0/*.jpg")))


def test_a_pipe_is_read_once_and_kept(extract, dataset, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir()
    with pipe_of(list_of(photos)) as name:
        assert extract("--input-list", name) == 0
    made = dataset()
    assert sorted(made.read_metadata("uri")["uri"].to_pylist()) == list_of(photos).split()
    assert made.run.input.names == (name,)
    gc.collect()
    assert list((tmp_path / "kept").iterdir()) == []
    with pipe_of(list_of(photos)) as again:
        assert extract("--input-list", again) == 0


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input_is_a_list(extract, dataset, photos, name):
    with pipe_of(list_of(photos), 0):
        assert extract("--input-list", name, "--direct_running_mode", "multi_processing") == 0
    assert dataset().run.counts.embeddings == len(list_of(photos).split())
    assert dataset().run.input.names == (name,)


def test_a_list_that_is_standard_input_is_read_from_its_start(tmp_path):
    (tmp_path / "list").write_text("a.jpg\nb.jpg\n")
    before, file = os.dup(0), os.open(tmp_path / "list", os.O_RDONLY)
    try:
        os.dup2(file, 0)
        source = UriList(("-",)).check()
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(file)
    for _ in range(2):
        assert [ref.uri for ref in source.list_images()] == ["a.jpg", "b.jpg"]


def test_a_named_pipe_is_kept_for_every_worker(tmp_path):
    os.mkfifo(tmp_path / "list")
    threading.Thread(target=(tmp_path / "list").write_text, args=["a.jpg\nb.jpg\n"]).start()
    source = UriList((str(tmp_path / "list"),)).check()
    copy = pickle.loads(pickle.dumps(source))
    del copy  # Which leaves the file for the others.
    assert [ref.uri for ref in pickle.loads(pickle.dumps(source)).list_images()] == [
        "a.jpg",
        "b.jpg",
    ]
    path = Path(source.path)
    assert path.exists()
    del source
    assert not path.exists()


def test_doctor_reads_a_pipe_once(photos, tmp_path, model_path, capsys):
    with pipe_of(list_of(photos)) as name:
        flags = ["--input-list", name, "--output", str(tmp_path / "out"), "--model", model_path]
        assert main(["doctor", *flags]) == 0
    told = capsys.readouterr().out
    assert "embedded the first image" in told
    assert "and 4 of the input" in told


def test_a_pipe_that_others_cannot_read_is_refused():
    UriList(("list.txt",)).check_shared()
    with pytest.raises(InputError, match="`input_list=-` can be read here only"):
        UriList(("-",)).check_shared()


def test_a_pipe_is_refused_where_workers_are_elsewhere(extract, capsys):
    where = ["--environment_type=EXTERNAL", "--environment_config=localhost:1"]
    assert extract("--input-list", "-", "--runner", "PortableRunner", *where) == 2
    assert "--input-list - can be read here only" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_pipe_that_gives_nothing_is_a_mistake(extract, capsys, text):
    with pipe_of(text) as name:
        assert extract("--input-list", name) == 2
    assert f"--input-list {name} is empty: it needs one URI a line, or --allow-empty" in (
        capsys.readouterr().err
    )


def test_an_empty_list_may_be_allowed(extract, dataset, tmp_path):
    (tmp_path / "list").write_text("")
    for _ in range(2):
        assert extract("--input-list", tmp_path / "list", "--allow-empty") == 0
    assert dataset().run.counts.inputs == 0
    assert dataset().read_embeddings().num_rows == 0


def test_a_list_that_is_emptied_after_the_check_is_no_empty_dataset(
    extract, tmp_path, photos, monkeypatch, capsys
):
    (tmp_path / "list").write_text(list_of(photos))
    check = UriList.check

    def empty_then(self):
        source = check(self)
        (tmp_path / "list").write_text("")
        return source

    monkeypatch.setattr(UriList, "check", empty_then)
    assert extract("--input-list", tmp_path / "list") == 3
    assert "names no image any more" in capsys.readouterr().err
    assert not (tmp_path / "out" / "_SUCCESS").exists()
