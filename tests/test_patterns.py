"""Files, folders and globs on the local filesystem."""

from __future__ import annotations

import errno
import glob
import os
import shutil
from pathlib import Path

import disk_filesystem
import pytest

from beamvec.embeddings import open_dataset
from beamvec.embeddings.unlisted import Unlisted
from beamvec.errors import InputError
from beamvec.transforms.files import storage
from beamvec.transforms.inputs.file_names import IMAGE_EXTENSIONS
from beamvec.transforms.inputs.patterns import Patterns, expand_pattern, list_pattern
from beamvec.transforms.output import chunk_files


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


def unlisted(pattern: str | Path, output: str | Path = "") -> Unlisted:
    found = [each for each in list_pattern(str(pattern), str(output)) if isinstance(each, Unlisted)]
    return sum(found, Unlisted())


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("**/*.jpg", ["a.jpg", "b/c.jpg", "b/d/e.jpg"]),
        ("b/**/*.jpg", ["b/c.jpg", "b/d/e.jpg"]),
        ("b/**/e.jpg", ["b/d/e.jpg"]),
        ("**/d/**/*", ["b/d/e.jpg"]),
        ("**.jpg", ["a.jpg", "b/c.jpg", "b/d/e.jpg"]),
        ("b/**", ["b/c.jpg", "b/d/e.jpg"]),
        ("b**", ["b/c.jpg", "b/d/e.jpg"]),
        ("*/*", ["b/c.jpg", "odd [1]/g.gif"]),
        ("*.jpg", ["a.jpg"]),
        ("?.jpg", ["a.jpg"]),
        ("odd [1]/*.gif", ["odd [1]/g.gif"]),
        ("odd [[]1]/*.gif", ["odd [1]/g.gif"]),
        ("*\\*", ["x\\slash.png"]),
        ("x?slash.*", ["x\\slash.png"]),
        ("[!a-w]*", ["x\\slash.png"]),
        ("[z-a]*", []),
    ],
)
def test_globs_mean_what_they_mean_elsewhere(tmp_path, monkeypatch, pattern, found):
    folder = tmp_path / "in"
    files = ["a.jpg", "b/c.jpg", "b/d/e.jpg", "odd [1]/g.gif", "x\\slash.png"]
    for name in files:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    assert names(folder / pattern, folder) == found
    if "odd [1]/" not in pattern and "**" not in pattern.replace("**/", ""):
        in_python = glob.glob(pattern, root_dir=folder, recursive=True)
        assert sorted(name for name in in_python if (folder / name).is_file()) == found
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "root", tmp_path)
    if "odd [1]/" not in pattern:
        assert keys(f"disk://in/{pattern}", "disk://in") == found


def test_a_glob_looks_only_where_it_can_match(tree, monkeypatch):
    looked = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(path) or scandir(path))
    assert names(tree / "*.jpg", tree) == ["a.jpg"]
    assert looked == [str(tree)]


def test_folders_that_link_to_each_other_are_searched_once_each(tmp_path):
    folders = [tmp_path / f"f{i}" for i in range(8)]
    for folder in folders:
        folder.mkdir()
        (folder / "x.jpg").write_text("")
    for folder in folders:
        for other in folders:
            (folder / f"to_{other.name}").symlink_to(other)
    expected = [f"f{i}/x.jpg" for i in range(8)]
    assert names(tmp_path, tmp_path) == expected
    assert names(tmp_path / "**", tmp_path) == expected
    assert names(tmp_path / "**" / "*.jpg", tmp_path) == expected
    other = [f"to_f{i}/x.jpg" for i in range(1, 8)]
    assert names(folders[0], folders[0]) == [*other, "x.jpg"]


def test_which_name_a_linked_folder_goes_by_does_not_depend_on_order(tmp_path, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "x.jpg").write_text("")
    for name in ("b", "c", "a"):
        (tmp_path / name).symlink_to(other)
    assert names(tmp_path, tmp_path) == ["a/x.jpg"]


def test_files_that_are_not_looked_at_are_counted_by_extension(tmp_path):
    names_ = ["a.png", "b.mpo", "d.jxl", "e.HIF", "IMG_0003", "c.png?w=100", "f.dng", "g.DNG"]
    names_ += ["h.0001", "h.0002", ".hidden", "i.a sentence", "._a.png", "__MACOSX/._a.png"]
    for name in names_:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert names(tmp_path, tmp_path) == ["a.png", "b.mpo", "d.jxl", "e.HIF"]
    counts = {"": 2, ".png?": 1, ".dng": 2, ".0": 2, ".a ": 1, "._*": 1, "__MACOSX": 1}
    assert unlisted(tmp_path) == Unlisted(counts)


def test_a_million_extensions_stay_few(tmp_path):
    for i in range(300):
        (tmp_path / f"a.x{i}").write_text("")
    found = unlisted(tmp_path)
    assert (found.count, len(found.files)) == (300, 101)


def test_what_macos_puts_beside_files_is_no_image_unless_it_is_named(tmp_path):
    for name in ("a.png", "._a.png", "__MACOSX/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert names(tmp_path / "*.png", tmp_path) == ["a.png"]
    assert unlisted(tmp_path / "**" / "*.png") == Unlisted({"._*": 1, "__MACOSX": 1})
    assert names(tmp_path / "._*", tmp_path) == ["._a.png"]
    assert names(tmp_path / "._a.png", tmp_path) == ["._a.png"]
    assert names(tmp_path / "__MACOSX" / "*.png", tmp_path) == ["__MACOSX/b.png"]


@pytest.fixture
def unreadable(tree, monkeypatch):
    """Make sub/ unreadable, as it would be for another user than root."""
    scandir = os.scandir

    def deny(path):
        if path == str(tree / "sub"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    return f"{tree}/sub: Permission denied"


@pytest.mark.parametrize("pattern", ["", "**", "*/*"])
def test_an_unreadable_folder_costs_itself_only(tree, unreadable, pattern):
    assert {"odd [1]*?/f.gif"} <= set(names(tree / pattern, tree))
    found = unlisted(tree / pattern)
    assert (found.folders, found.named) == (1, (unreadable,))
    with pytest.raises(InputError, match=r"sub`: Permission denied|Permission denied"):
        Patterns((f"{tree}/sub",)).check()


def test_an_unreadable_folder_is_counted_and_named(extract, photos, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "in"
    shutil.copytree(photos / "group0", folder)
    shutil.copytree(photos / "group1", folder / "sub")
    scandir = os.scandir

    def deny(path):
        if path == str(folder / "sub"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    assert extract("--input", folder) == 1
    captured = capsys.readouterr()
    assert f"UNREADABLE   1 folder that could not be read: {folder}/sub: Permission" in captured.out
    assert "0 of 11 images failed (8.33%)" in captured.err
    assert "1 folder could not be read" in captured.err
    run = open_dataset(str(tmp_path / "out")).run
    assert run.unlisted.folders == 1
    assert run.counts.inputs == run.counts.embeddings == 11
    assert extract("--input", folder, "--max-failure-ratio", "0.1") == 0
    monkeypatch.setattr(os, "scandir", scandir)
    assert extract("--input", folder, "--append") == 0
    run = open_dataset(str(tmp_path / "out")).run
    assert (run.latest.unlisted.folders, run.counts.inputs) == (0, 21)


def test_skipped_files_are_told_by_a_run_that_goes_on_too(
    extract, photos, tmp_path, capsys, monkeypatch
):
    flags = ["--input", photos, "--max-failure-ratio", "1", "--chunk-size", "4"]
    with monkeypatch.context() as patch:
        written, write = [], chunk_files.write_chunk

        def fail_after_two(*args):
            if len(written) == 2:
                raise OSError("killed")
            written.append(args)
            return write(*args)

        patch.setattr(chunk_files, "write_chunk", fail_after_two)
        assert extract(*flags) == 3
    capsys.readouterr()
    assert extract(*flags) == 0
    assert open_dataset(str(tmp_path / "out")).run.counts.taken_over
    told = "skipped      2 files not looked at: 1 x no extension, 1 x .txt"
    assert told in capsys.readouterr().out
    assert open_dataset(str(tmp_path / "out")).run.unlisted == Unlisted({"": 1, ".txt": 1})
    assert extract(*flags, "--append") == 0
    assert told in capsys.readouterr().out
    run = open_dataset(str(tmp_path / "out")).run
    assert run.latest.unlisted == run.unlisted == Unlisted({"": 1, ".txt": 1})


def test_an_output_inside_the_input_is_never_an_input(extract, photos, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(photos / "group0", folder)
    (folder / "out").mkdir()
    shutil.copy(folder / "00.jpg", folder / "out" / "picture.jpg")
    flags = ["--max-failure-ratio", "1", "--input"]
    for pattern in (folder, folder / "**"):
        for again in ("--overwrite", "--append"):
            assert extract(*flags, pattern, again, output=folder / "out") == 0
            run = open_dataset(str(folder / "out")).run
            assert run.counts.inputs == len([*folder.glob("*.*"), "README", "picture"]) - (
                pattern == folder
            )
            assert set(run.latest.unlisted.files) <= {""}
    (folder / "out" / "embeddings" / "x").mkdir()


@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}/../in", "{}/link"])
def test_an_output_that_is_the_input_folder_is_refused(extract, photos, tmp_path, capsys, spelling):
    folder = tmp_path / "in"
    shutil.copytree(photos / "group0", folder)
    (folder / "link").symlink_to(folder)
    before = sorted(folder.iterdir())
    assert extract("--input", spelling.format(folder), output=folder) == 2
    assert "is the folder of --input" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_a_file_uri_is_a_path(tree):
    source = Patterns((f"file://{tree}/sub", f"file://localhost{tree}/odd%20%5B1%5D%2A%3F")).check()
    found = sorted(os.path.relpath(ref.uri, tree) for ref in source.list_images())
    assert found == ["odd [1]*?/f.gif", "sub/d.Png", "sub/deep/e.tif"]


def test_thousands_of_names_are_listed_in_few_parts(tree):
    source = Patterns(tuple(f"{tree}/a.jpg" for _ in range(3000)))
    assert len(source.split()) == 1000
    assert sum(len(list(part.list_images())) for part in source.split()) == 3000


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
        ("texts", "; 2 files not looked at: 1 x no extension, 1 x .txt"),
    ],
)
def test_a_pattern_that_names_nothing_says_why(tree, pattern, told):
    for folder in ("empty", "texts"):
        (tree / folder).mkdir()
    for name in ("a.txt", "README"):
        (tree / "texts" / name).write_text("")
    source = Patterns((str(tree / "a.jpg"), str(tree / pattern)))
    with pytest.raises(InputError) as caught:
        source.check()
    assert str(caught.value).startswith(f"`input={tree}/{pattern}`: ")
    assert told in str(caught.value)


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


def test_an_output_in_a_store_is_no_input_and_not_the_input_folder(tree, bucket):
    for name in ("embeddings/x.jpg", "run.json", "_LOCK", "y.jpg"):
        (tree / "sub" / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / "sub" / "out" / name).write_text("")
    output = f"{bucket}/sub/out"
    for pattern in (f"{bucket}/sub", f"{bucket}/sub/**"):
        source = Patterns((pattern,), output=output).check()
        found = sorted(ref.uri.removeprefix(f"{bucket}/sub/") for ref in source.list_images())
        assert found == ["d.Png", "deep/e.tif", "out/y.jpg"]
        assert unlisted(pattern, output) == Unlisted()
    with pytest.raises(InputError, match="is the folder of `input"):
        Patterns((f"{bucket}/sub/",), output=f"{bucket}/sub").check()


def test_what_is_skipped_in_a_store_is_counted(tree, bucket):
    (tree / "._a.jpg").write_text("")
    assert unlisted(bucket) == Unlisted({".txt": 1, "._*": 1})
    assert unlisted(f"{bucket}/*.jpg") == Unlisted({"._*": 1})


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
