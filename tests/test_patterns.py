"""Files, folders and globs on the local filesystem."""

from __future__ import annotations

import os
from pathlib import Path

import disk_filesystem
import pytest

from beamvec.errors import InputError
from beamvec.transforms.files import storage
from beamvec.transforms.inputs.patterns import IMAGE_EXTENSIONS, Patterns, expand_pattern


def names(pattern: str | Path, root: Path) -> list[str]:
    return sorted(os.path.relpath(ref.uri, root) for ref in expand_pattern(str(pattern)))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.jpg", "B.JPEG", "c.txt", "sub/d.Png", "sub/deep/e.tif", "odd [1]*?/f.gif"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("content")
    return tmp_path


def test_a_folder_means_its_images_in_any_depth_and_case(tree):
    everything = ["B.JPEG", "a.jpg", "odd [1]*?/f.gif", "sub/d.Png", "sub/deep/e.tif"]
    assert names(tree, tree) == everything
    assert names(f"{tree}/", tree) == everything
    assert names(f"{tree}/sub/../sub", tree) == ["sub/d.Png", "sub/deep/e.tif"]


def test_a_file_or_a_glob_means_exactly_what_it_says(tree):
    assert names(tree / "c.txt", tree) == ["c.txt"]
    assert names(tree / "*", tree) == ["B.JPEG", "a.jpg", "c.txt"]
    assert names(tree / "sub" / "**", tree) == ["sub/d.Png", "sub/deep/e.tif"]
    assert names(tree / "?.jpg", tree) == ["a.jpg"]
    assert names(tree / "[ab].jpg", tree) == ["a.jpg"]
    assert names(tree / "odd [1]*?", tree) == ["odd [1]*?/f.gif"]


def test_refs_carry_size_and_time(tree):
    (ref,) = expand_pattern(str(tree / "a.jpg"))
    assert (ref.size_bytes, ref.modified_s) == (7, os.stat(tree / "a.jpg").st_mtime)


def test_links_are_followed_but_not_in_circles(tree, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "x.jpg").write_text("")
    (tree / "linked").symlink_to(other)
    (other / "back").symlink_to(tree)
    (tree / "sub" / "self").symlink_to(tree / "sub")
    (tree / "itself.jpg").symlink_to(tree / "itself.jpg")
    (tree / "nowhere.jpg").symlink_to(tree / "nothing")
    found = names(tree, tree)
    assert {"linked/x.jpg", "itself.jpg", "nowhere.jpg"} < set(found)
    assert len(found) == 8


def test_listing_needs_no_more_than_the_first_entry(tree):
    assert next(expand_pattern(str(tree))).uri.startswith(str(tree))


def test_formats_that_pillow_reads_are_looked_for():
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".gif", ".bmp", ".heic"} <= IMAGE_EXTENSIONS


def test_patterns_are_listed_one_after_the_other_as_often_as_they_are_named(tree):
    file = str(tree / "a.jpg")
    source = Patterns((file, str(tree / "sub"), file))
    found = [os.path.relpath(ref.uri, tree) for ref in source.list_images()]
    assert sorted(found) == ["a.jpg", "a.jpg", "sub/d.Png", "sub/deep/e.tif"]
    assert source.find_some(1)[0].uri == file
    assert source.check() == source


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("nowhere", "no such file or folder"),
        ("*.nothing", "no file matches this pattern; is it quoted as you meant it?"),
        ("empty", "no images in this folder (looked for .apng"),
    ],
)
def test_a_pattern_that_names_nothing_says_why(tree, pattern, told):
    (tree / "empty").mkdir()
    source = Patterns((str(tree / "a.jpg"), str(tree / pattern)))
    with pytest.raises(InputError) as caught:
        source.check()
    assert str(caught.value).startswith(f"`input={tree}/{pattern}`: {told}")


def test_an_empty_folder_may_be_allowed_and_a_wrong_name_never(tree):
    (tree / "empty").mkdir()
    Patterns((f"{tree}/empty", f"{tree}/*.nothing"), allow_empty=True).check()
    with pytest.raises(InputError, match="no such file or folder"):
        Patterns((f"{tree}/nowhere",), allow_empty=True).check()


def test_a_home_is_found(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree))
    assert names("~/sub", tree) == ["sub/d.Png", "sub/deep/e.tif"]


@pytest.fixture
def bucket(tree, monkeypatch):
    """The same files as objects of a store."""
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "root", tree.parent)
    return f"disk://{tree.name}"


def keys(pattern: str, bucket: str) -> list[str]:
    return sorted(ref.uri.removeprefix(f"{bucket}/") for ref in expand_pattern(pattern))


def test_a_store_is_listed_as_a_folder_is(tree, bucket):
    (tree / "odd [1]*?" / "f.gif").unlink()
    assert keys(f"{bucket}/sub", bucket) == ["sub/d.Png", "sub/deep/e.tif"]
    assert keys(f"{bucket}/sub/", bucket) == ["sub/d.Png", "sub/deep/e.tif"]
    assert keys(f"{bucket}/c.txt", bucket) == ["c.txt"]
    assert keys(f"{bucket}/*", bucket) == ["B.JPEG", "a.jpg", "c.txt"]
    assert keys(bucket, bucket) == ["B.JPEG", "a.jpg", "sub/d.Png", "sub/deep/e.tif"]
    (ref,) = expand_pattern(f"{bucket}/a.jpg")
    assert ref.size_bytes == 7
    assert ref.modified_s == (tree / "a.jpg").stat().st_mtime


def test_a_store_is_not_listed_in_full_to_see_whether_there_is_something(bucket, monkeypatch):
    limits = []
    match = storage.match
    monkeypatch.setattr(storage, "match", lambda *args: limits.append(args[1]) or match(*args))
    Patterns((f"{bucket}/sub",)).check()
    assert set(limits) == {10}
    with pytest.raises(InputError, match="no such file or folder"):
        Patterns((f"{bucket}/nothing",)).check()


def test_a_listing_that_fails_says_of_what(bucket, monkeypatch):
    def fail(*_):
        raise PermissionError("Access denied")

    monkeypatch.setattr(storage, "match", fail)
    with pytest.raises(InputError, match=f"cannot list `input={bucket}/sub`: Access denied"):
        Patterns((f"{bucket}/sub",)).check()
