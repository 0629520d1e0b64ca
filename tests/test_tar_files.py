"""Images in tar files, WebDataset's too."""

from __future__ import annotations

import io
import re
import tarfile

import pytest
from made_containers import make_contents, read_all, read_refs, write_tar

from beamvec.errors import InputError
from beamvec.transforms.inputs import containers, tar_files
from beamvec.transforms.inputs.tar_files import TarFiles


def test_texts_beside_an_image_become_columns_wherever_they_are(tmp_path):
    members = {
        "a/1.txt": b"one",
        "a/1.left.JPG": b"L1",
        "a/2.jpg": b"I2",
        "a/1.right.jpg": b"R1",
        "b/1.jpg": b"other key",
        "a/2.json": b'{"n": 2}',
        "a/1.npy": b"no text",
        "c/9.cls": b"no image",
        "a/._2.jpg": b"macOS",
        "a/2.txt": b"caf\xe9",
    }
    path = write_tar(tmp_path / "x.tar", members)
    source = TarFiles((str(path),)).check()
    assert source.columns.names == ["txt", "json"]
    found = {ref.uri.partition("#")[2]: ref.columns for ref in source.list_images()}
    assert found == {
        "a/1.left.JPG": ("one", None),
        "a/2.jpg": ("caf\\xe9", '{"n": 2}'),
        "a/1.right.jpg": ("one", None),
        "b/1.jpg": (None, None),
    }
    contents, errors = read_all(source)
    assert not errors
    assert contents == {f"{path}#{name}": members[name] for name in found}


def test_webdataset_s_own_writer(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    contents = make_contents()
    path = tmp_path / "shard-000.tar"
    with webdataset.TarWriter(str(path)) as writer:
        for name, content in contents.items():
            key, _, extension = name.partition(".")
            writer.write({"__key__": key, extension: content, "cls": 3, "json": {"a": [1]}})
    source = TarFiles((str(tmp_path),)).check()
    assert source.columns.names == ["json", "cls"]
    assert {ref.columns for ref in source.list_images()} == {('{"a": [1]}', "3")}
    assert read_all(source)[0] == {f"{path}#{name}": data for name, data in contents.items()}


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_names_of_any_length_and_bytes(tmp_path, format_):
    long = "d" * 90 + "/" + "n" * 60 + ".jpg"
    names = [long, "caf\udce9.jpg", "ümlaut.jpg"] if format_ == tarfile.GNU_FORMAT else [long]
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=format_, errors="surrogateescape") as tar:
        for i, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = 2000 * i + 1
            tar.addfile(info, io.BytesIO(bytes([i]) * info.size))
    contents, errors = read_all(TarFiles((str(path),)))
    assert not errors
    assert [len(data) for data in contents.values()] == [2000 * i + 1 for i in range(len(names))]
    assert f"{path}#{long}" in contents
    assert all(uri.encode() for uri in contents)


def test_the_last_of_equal_names_counts_and_the_others_are_duplicates(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "RUN_IMAGES", 1)
    path = write_tar(tmp_path / "x.tar", {"a.jpg": b"old", "b.jpg": b"b"})
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("a.jpg")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"newer"))
    source = TarFiles((str(path),)).check()
    refs = list(source.list_images())
    assert [ref.uri.partition("#")[2] for ref in refs] == ["b.jpg", "a.jpg", "a.jpg"]
    assert refs[1] == refs[2]
    assert read_refs(source, refs[:2])[0] == {f"{path}#a.jpg": b"newer", f"{path}#b.jpg": b"b"}


def test_links_and_holes(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"d/a.jpg": b"image"})
    with tarfile.open(path, "a") as tar:
        for name, type_, target in [
            ("hard.jpg", tarfile.LNKTYPE, "d/a.jpg"),
            ("d/soft.jpg", tarfile.SYMTYPE, "a.jpg"),
            ("lost.jpg", tarfile.SYMTYPE, "/etc/passwd"),
            ("pipe.jpg", tarfile.FIFOTYPE, ""),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = type_, target
            tar.addfile(info)
    contents, errors = read_all(TarFiles((str(path),)))
    assert contents == {
        f"{path}#{name}": b"image" for name in ("d/a.jpg", "hard.jpg", "d/soft.jpg")
    }
    assert "it is a link to /etc/passwd" in str(errors[f"{path}#lost.jpg"])
    assert "it is no file" in str(errors[f"{path}#pipe.jpg"])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[:2000], "before byte"),
        (lambda data: data[:1024], "it ends at byte 1,024, without an end's mark"),
        (lambda data: data[:1100], "it ends at byte 1,100, without an end's mark"),
        (lambda data: data[:1536], "before byte"),
        (lambda data: data[:1030] + b"?" + data[1031:], "what begins at byte 1,024 is no header"),
        (lambda data: data + data, "its end's mark is at byte 3,072, but there is more behind"),
        (lambda _: b"", "empty file"),
        (lambda _: b"no tar" * 1000, "before byte"),
    ],
)
def test_what_cannot_be_listed_to_its_end_is_an_error(tmp_path, damage, told):
    path = write_tar(tmp_path / "x.tar", {f"{i}.jpg": b"x" * 100 for i in range(3)})
    source = TarFiles((str(path),))
    assert len(list(source.list_images())) == 3
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=rf"x\.tar` is damaged: .*{re.escape(told)}"):
        list(source.list_images())


def test_compressed_ones_are_refused(tmp_path):
    for name in ("x.tar.gz", "x.tar"):
        with tarfile.open(tmp_path / name, "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("a.jpg"))
        with pytest.raises(InputError, match="is compressed as a whole"):
            TarFiles((str(tmp_path / name),)).check()


def test_texts_that_come_later_are_told(tmp_path):
    write_tar(tmp_path / "a.tar", {"1.jpg": b"1"})
    write_tar(tmp_path / "b.tar", {"1.jpg": b"1", "1.txt": b"text"})
    source = TarFiles((str(tmp_path),)).check()
    with pytest.raises(
        InputError, match=r"b\.tar`: beside '1.jpg' is a .txt, of which there is none"
    ):
        list(source.list_images())
    write_tar(
        tmp_path / "a.tar", {"1.jpg": b"1", "1.txt": b"x" * (tar_files.MAX_SIDECAR_BYTES + 1)}
    )
    with pytest.raises(
        InputError, match=r"'1.txt' has 1,048,577 bytes; no more than 1,048,576 ride"
    ):
        source.check()


def test_a_name_with_the_mark_and_a_tar_without_images(tmp_path):
    write_tar(tmp_path / "a#1.tar", {"1.jpg": b"1"})
    with pytest.raises(InputError, match="may have no #"):
        TarFiles((str(tmp_path),)).check()
    path = write_tar(tmp_path / "b.tar", {"1.txt": b"1"})
    with pytest.raises(InputError, match="no images in it"):
        TarFiles((str(path),)).check()
    image = write_tar(tmp_path / "c.tar", {"x#y.jpg": b"1"})
    assert read_all(TarFiles((str(image),)))[0] == {f"{image}#x#y.jpg": b"1"}
