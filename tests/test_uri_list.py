"""Lists of URIs."""

from __future__ import annotations

import gzip

import pytest

from beamvec.errors import InputError
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
