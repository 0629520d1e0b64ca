"""Listing images on the local filesystem and on one that stands for a remote one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from transforms.match import IMAGE_EXTENSIONS, InputSpec, expand_pattern, list_images


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


def test_lists_are_taken_line_by_line(tmp_path):
    file = tmp_path / "list.txt"
    file.write_bytes(b"\xef\xbb\xbfa.jpg\r\n\r\n b c.jpg \ngs://bucket/d.jpg\nlatin-\xe9.jpg")
    uris = [ref.uri for ref in list_images(InputSpec(list_path=str(file)))]
    assert uris == ["a.jpg", "b c.jpg", "gs://bucket/d.jpg", "latin-\\xe9.jpg"]


def test_formats_that_pillow_reads_are_looked_for():
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".gif", ".bmp", ".heic"} <= IMAGE_EXTENSIONS
