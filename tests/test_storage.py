"""Files, local ones and those of a filesystem that stands for a store."""

from __future__ import annotations

import bz2
import gzip
import os

import disk_filesystem
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamvec.transforms.files import storage
from beamvec.transforms.files.storage import ConflictError, NoStoreError


@pytest.fixture(params=["local", "store"])
def root(request, tmp_path, monkeypatch):
    """The same folder, as a local one and as a bucket."""
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "root", tmp_path)
    return f"{tmp_path}/bucket" if request.param == "local" else "disk://bucket"


def test_what_is_written_is_read_back(root, tmp_path):
    path = storage.join(root, "sub", "a.bin")
    assert not storage.exists(path)
    storage.write_file(path, b"\x00\xff")
    assert storage.read_bytes(path) == b"\x00\xff"
    assert storage.exists(path)
    storage.write_file(path, b"other")
    with storage.open_file(path) as file:
        assert file.read() == b"other"
    assert os.listdir(tmp_path / "bucket" / "sub") == ["a.bin"]


def test_a_block_that_fails_leaves_the_file_as_it_was(root, tmp_path):
    path = storage.join(root, "sub", "a.bin")
    storage.write_file(path, b"before")
    with pytest.raises(TypeError), storage.open_atomically(path) as file:
        file.write("no bytes")
    assert storage.read_bytes(path) == b"before"
    assert os.listdir(tmp_path / "bucket" / "sub") == ["a.bin"]


def test_files_are_listed_at_one_depth_or_at_any(root):
    for name in ("b", "a", "sub/c", "sub/deep/d"):
        storage.write_file(storage.join(root, "folder", *name.split("/")), b"")
    folder = storage.join(root, "folder")
    assert sorted(storage.list_files(folder)) == [f"{folder}/a", f"{folder}/b"]
    below = [f"{folder}/{name}" for name in ("a", "b", "sub/c", "sub/deep/d")]
    assert sorted(entry.path for entry in storage.list_tree(folder)) == below
    assert all(entry.is_file and entry.size_bytes == 0 for entry in storage.list_tree(folder))
    assert storage.list_files(storage.join(root, "nowhere")) == []
    assert storage.list_tree(storage.join(root, "nowhere")) == []


def test_files_are_moved_and_deleted(root):
    one, two = storage.join(root, "f", "one"), storage.join(root, "g", "two")
    storage.write_file(one, b"1")
    storage.write_file(two, b"2")
    storage.rename(one, two)
    assert (storage.exists(one), storage.read_bytes(two)) == (False, b"1")
    storage.delete(two)
    storage.delete(two)
    assert not storage.exists(two)


def test_only_the_version_that_was_read_is_written_or_deleted(root):
    path = storage.join(root, "sub", "a")
    assert storage.read_versioned(path) is None
    first = storage.write_if(path, b"1", None)
    assert storage.read_versioned(path) == (b"1", first)
    second = storage.write_if(path, b"2", first)
    for version in (first, None):
        with pytest.raises(ConflictError):
            storage.write_if(path, b"3", version)
    with pytest.raises(ConflictError):
        storage.delete_if(path, first)
    assert storage.read_versioned(path) == (b"2", second)
    storage.delete_if(path, second)
    storage.delete_if(path, second)
    with pytest.raises(ConflictError):
        storage.write_if(path, b"3", second)
    assert not storage.exists(path)


def test_what_is_named_is_deleted_and_folders_that_are_empty_then(tmp_path):
    (tmp_path / "kept").write_text("")
    for name in ("f/sub/a", "f/b", "f/mine"):
        storage.write_file(f"{tmp_path}/{name}", b"")
    (tmp_path / "f" / "link").symlink_to(tmp_path / "kept")
    folder = str(tmp_path / "f")
    storage.delete_files([f"{folder}/{name}" for name in ("sub/a", "b", "gone")], folder)
    assert sorted(os.listdir(folder)) == ["link", "mine"]
    storage.delete_files([f"{folder}/link", f"{folder}/mine"], folder)
    assert os.listdir(tmp_path) == ["kept"]


def test_no_folder_is_deleted_with_what_it_holds(tmp_path):
    storage.write_file(f"{tmp_path}/f/a", b"")
    with pytest.raises(OSError, match="directory"):
        storage.delete(f"{tmp_path}/f")
    storage.delete(f"{tmp_path}/nowhere")
    storage.delete(f"{tmp_path}/f/a/below")
    assert (tmp_path / "f" / "a").exists()


def test_links_are_listed_and_not_followed(tmp_path):
    storage.write_file(f"{tmp_path}/f/a", b"")
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "link").symlink_to(tmp_path / "f")
    ((path, _, is_file),) = storage.list_tree(str(tmp_path / "g"))
    assert (path, is_file) == (str(tmp_path / "g" / "link"), False)
    ((path, _, is_file),) = storage.list_tree(path)
    assert (path, is_file) == (str(tmp_path / "g" / "link"), False)


def test_what_cannot_be_read_is_an_os_error(root):
    for read in (storage.read_bytes, lambda path: storage.open_file(path).__enter__()):
        with pytest.raises(FileNotFoundError):
            read(storage.join(root, "nowhere"))


def test_nothing_but_regular_files_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"):
        storage.read_bytes(str(tmp_path / "pipe"))
    with pytest.raises(IsADirectoryError):
        storage.read_bytes(str(tmp_path))


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=300))
def test_any_name_is_a_file_that_is_there_or_an_os_error(name):
    path = f"/nowhere/{name.replace('://', '')}"
    result = storage.try_read(path)
    assert isinstance(result.error, OSError)
    assert result.data == b""
    assert result.retries == 0


@pytest.mark.parametrize("name", ["a*.jpg", "[a].jpg", "a?.jpg", "a\nb", " a ", "a.gz"])
def test_names_are_never_patterns(tmp_path, name):
    (tmp_path / name).write_bytes(b"this one")
    (tmp_path / "ab.jpg").write_bytes(b"another")
    assert storage.read_bytes(f"{tmp_path}/{name}") == b"this one"


@pytest.mark.parametrize("uri", ["ftp://host/a.jpg", "nonsense://"])
def test_a_uri_without_a_store_says_so(uri):
    with pytest.raises(NoStoreError, match=f"no filesystem for {uri.partition(':')[0]}://"):
        storage.check_store(uri)
    assert isinstance(storage.try_read(uri).error, NoStoreError)
    storage.check_store("a.jpg")


@pytest.mark.parametrize(
    ("name", "compress"), [("a.txt", bytes), ("a.txt.gz", gzip.compress), ("a.bz2", bz2.compress)]
)
def test_lines_are_read_compressed_or_not(tmp_path, name, compress):
    path = tmp_path / name
    path.write_bytes(compress(b"\xef\xbb\xbfone\r\n\n \ttwo \n\xe9\nlast"))
    assert list(storage.read_lines(str(path))) == ["one", " \ttwo ", "\udce9", "last"]


def test_compressed_files_are_unpacked_in_a_store_too_and_broken_ones_are_os_errors(root, tmp_path):
    path = storage.join(root, "a.gz")
    content = gzip.compress(b"one\n" * 1000)
    storage.write_file(path, content)
    assert list(storage.read_lines(path)) == ["one"] * 1000
    (tmp_path / "bucket" / "a.gz").write_bytes(b"\x00" + content)
    with pytest.raises(OSError, match=r"a\.gz"):
        list(storage.read_lines(path))


def test_a_whole_file_is_read_as_it_is_whatever_its_name(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"content"))
    assert storage.read_bytes(str(path)) == path.read_bytes()


def test_a_package_is_found_without_importing_it():
    assert storage.is_installed("numpy")
    assert not storage.is_installed("no_such_package.module")
    assert not storage.is_installed("no_such_package")
