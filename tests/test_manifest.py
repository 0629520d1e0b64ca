"""Manifests that cannot be used, and the types that come through."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from threading import Thread

import disk_filesystem
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from beamvec.embeddings import Dataset
from beamvec.errors import InputError
from beamvec.transforms.inputs.manifest import Manifest
from beamvec.transforms.records.images import ImageRef


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.jpg,1\n", "has no column 'uri'.*its columns: path, label"),
        ("uri,width\na.jpg,1\n", "column 'width' is also a column of the output"),
        ("uri,label,label\na.jpg,1,2\n", "column 'label' comes twice"),
        ("uri,label\na.jpg,1\n,2\n", "row 2 has no 'uri'"),
        ("uri,label\n", "has no rows"),
        ("uri,label\na.jpg,x\nb.jpg,x\na.jpg,y\n", "rows 1 and 3 both name 'a.jpg', and differ: "),
        ("path;label\na.jpg;1\n", "separated by semicolons, its columns: path, label"),
        ('uri,label\na.jpg,"1\nb.jpg,2\n', "row 1: a quotation mark is never closed"),
        ("uri,label\na.jpg,1\nb.jpg\n", "cannot read"),
        ("", "cannot read"),
    ],
)
def test_mistakes_end_with_2_and_say_where(extract, tmp_path, capsys, text, message):
    path = tmp_path / "m.csv"
    path.write_text(text)
    assert extract("--manifest", path) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1


def test_a_byte_that_is_no_utf_8_is_named_and_latin_1_is_read(extract, photos, tmp_path, capsys):
    path = tmp_path / "m.csv"
    rows = [f"{photos}/group0/00.jpg,a", f"{photos}/group0/06.jpg,café"]
    path.write_bytes("\n".join(["uri,label", *rows]).encode("latin-1"))
    assert extract("--manifest", path) == 2
    error = capsys.readouterr().err
    assert r"row 2: 'label' is no UTF-8: b'caf\xe9'" in error
    assert "such as --csv-encoding latin-1" in error
    assert extract("--manifest", path, "--csv-encoding", "latin-1") == 0
    (part,) = (tmp_path / "out" / "embeddings").iterdir()
    assert pq.read_table(part)["label"].to_pylist() == ["a", "café"]


@pytest.mark.parametrize(
    ("content", "encoding", "told"),
    [
        (b"uri,caf\xe9\na.jpg,1\n", "utf-8", "it is not written in utf-8"),
        (b"uri,label\na\xe9.jpg,1\n", "utf-8", "row 1: 'uri' is no UTF-8"),
        ("uri,label\na.jpg,1\n".encode("utf-16"), "utf-8", "`csv_encoding=utf-16`"),
        ("uri,label\na.jpg,é\n".encode(), "ascii", "it is not written in ascii"),
        (b"uri,label\na.jpg,1\n", "klingon", "`csv_encoding=klingon`: no such encoding"),
    ],
)
def test_an_encoding_that_is_not_the_file_s_is_named(tmp_path, content, encoding, told):
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(told)):
        Manifest((str(tmp_path / "m.csv"),), csv_encoding=encoding).check()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "uri;label\na.jpg;x\n"),
        ("m.tsv", "uri\tlabel\na.jpg\tx\n"),
        ("m.csv", "\ufeff\n\nuri|label\na.jpg|x\n"),
        ("m.csv", "label,file_name\nx,a.jpg\n"),
        ("m.jsonl", '\n{"uri": "a.jpg", "label": "x"}\n'),
        ("m.ndjson", '{"file_name": "a.jpg", "label": "x", "box": {"x": 1}}\n'),
    ],
)
def test_other_layouts_are_read_without_a_flag(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    source = Manifest((str(tmp_path / name),)).check()
    assert source.columns == pa.schema([pa.field("label", pa.string())])
    assert list(source.read_rows()) == [ImageRef("a.jpg", columns=("x",))]


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_a_pipe_is_a_manifest_whose_format_its_content_tells(tmp_path, kind):
    content = {"csv": b"uri\tn\na.jpg\t1\n", "json": b'{"uri": "a.jpg", "n": 1}\n'}
    if kind == "parquet":
        pq.write_table(pa.table({"uri": ["a.jpg"], "n": [1]}), tmp_path / "m")
        content[kind] = (tmp_path / "m").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    Thread(target=(tmp_path / "pipe").write_bytes, args=[content[kind]]).start()
    source = Manifest((str(tmp_path / "pipe"),)).check()
    assert [list(source.read_rows()) for _ in range(2)] == [[ImageRef("a.jpg", columns=(1,))]] * 2


@pytest.fixture
def here(tmp_path, photos, monkeypatch):
    """A folder of images and manifests, and another one to work in."""
    shutil.copytree(photos / "group0", tmp_path / "in" / "images")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "in"


def test_relative_paths_count_from_the_manifest_and_stay_as_written(extract, dataset, here):
    (here / "m.csv").write_text("uri\nimages/00.jpg\n./images/06.jpg\nimages/gone.jpg\n")
    for how in ("--overwrite", "--append"):
        assert extract("--manifest", here / "m.csv", "--max-failure-ratio", "1", how) == 0
        made = dataset()
        uris = sorted(made.read_metadata("uri")["uri"].to_pylist())
        assert uris == ["./images/06.jpg", "images/00.jpg"]
        [row] = made.read_failures().to_pylist()
        assert row["uri"] == "images/gone.jpg"
        assert f"No such file or directory: '{here}/images/gone.jpg'" in row["message"]


def test_a_failure_is_looked_for_again_where_the_manifest_is(extract, dataset, here):
    (here / "m.csv").write_text("uri\nimages/00.jpg\nimages/late.jpg\n")
    assert extract("--manifest", here / "m.csv", "--max-failure-ratio", "1") == 0
    shutil.copy(here / "images" / "00.jpg", here / "images" / "late.jpg")
    (here / "m.csv").write_text("uri\nimages/06.jpg\n")
    assert extract("--manifest", here / "m.csv", "--append") == 0
    counts = dataset().run.counts
    assert (counts.embeddings, counts.failures) == (3, 0)


def test_paths_that_count_from_the_working_folder_are_refused_by_name(
    extract, dataset, here, capsys, monkeypatch
):
    (here.parent / "elsewhere" / "m.csv").write_text("uri\nimages/00.jpg\n")
    monkeypatch.chdir(here)
    manifest = here.parent / "elsewhere" / "m.csv"
    assert extract("--manifest", manifest) == 2
    error = capsys.readouterr().err
    assert f"there is no {here.parent}/elsewhere/images/00.jpg; relative paths count from" in error
    assert "'images/00.jpg' is in the working folder: say so with --base-folder ." in error
    assert extract("--manifest", manifest, "--base-folder", ".") == 0
    assert dataset().read_metadata("uri")["uri"].to_pylist() == ["images/00.jpg"]


def test_home_and_file_uris_are_places(extract, dataset, here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    shutil.copy(here / "images" / "00.jpg", here / "a b.jpg")
    uris = ["~/images/00.jpg", f"file://{here}/a%20b.jpg", f"file://localhost{here}/images/06.jpg"]
    (here / "m.csv").write_text("\n".join(["uri", *uris]))
    assert extract("--manifest", f"file://{here}/m.csv") == 0
    assert sorted(dataset().read_metadata("uri")["uri"].to_pylist()) == sorted(uris)
    (here / "list").write_text("\n".join(uris))
    assert extract("--input-list", "~/list", "--overwrite") == 0
    assert sorted(dataset().read_metadata("uri")["uri"].to_pylist()) == sorted(uris)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_the_metadata_of_an_image_folder_is_a_manifest(here, name):
    table = pa.table({"file_name": ["images/00.jpg"], "text": ["a"]})
    if name.endswith("csv"):
        pa_csv.write_csv(table, str(here / name))
    elif name.endswith("parquet"):
        pq.write_table(table, here / name)
    else:
        (here / name).write_text('{"file_name": "images/00.jpg", "text": "a"}')
    for given in (here, here / name):
        [ref] = Manifest((str(given),)).check().list_images()
        assert (ref.uri, ref.place, ref.columns) == (
            "images/00.jpg",
            f"{here}/images/00.jpg",
            ("a",),
        )
        assert ref.size_bytes == (here / "images" / "00.jpg").stat().st_size


def test_relative_paths_of_a_store_s_manifest_are_in_the_store(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "root", tmp_path)
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "m.csv").write_text("uri\na.jpg\n/b.jpg\ndisk://bucket/c.jpg\n")
    refs = list(Manifest(("disk://bucket/m.csv",)).check().list_images())
    assert [ref.place for ref in refs] == ["disk://bucket/a.jpg", None, None]


def test_rows_that_come_twice_are_duplicates_if_they_are_the_same(
    extract, dataset, photos, tmp_path
):
    path = tmp_path / "m.csv"
    path.write_text("uri,label\n" + f"{photos}/group0/00.jpg,nan\n" * 3)
    assert extract("--manifest", path) == 0
    assert dataset().run.counts.duplicates == 2


def test_what_holds_images_does_not_ride_along_unasked(extract, dataset, photos, tmp_path, capsys):
    image = pa.array(
        [{"bytes": b"png", "path": "x"}], pa.struct({"bytes": "binary", "path": "string"})
    )
    columns = {"image": image, "thumb": pa.array([b"jpg"]), "label": ["a"], "tags": [["x"]]}
    columns["views"] = pa.array([[b"png"]])
    columns["embedding"] = pa.array([b"collides with the output only if it rides along"])
    table = pa.table({"uri": [f"{photos}/group0/00.jpg"], **columns})
    pq.write_table(table, tmp_path / "m.parquet")
    assert extract("--manifest", tmp_path / "m.parquet") == 0
    made = dataset()
    assert set(made.settings.columns) == {"label", "tags"}
    told = "columns that do not ride along unless manifest_columns names them: image (struct<"
    assert told in made.run.notes[0]
    assert told in capsys.readouterr().err
    assert extract("--manifest", tmp_path / "m.parquet") == 0
    flags = ["--manifest", tmp_path / "m.parquet", "--overwrite"]
    assert extract(*flags, "--manifest-columns", "thumb, image,label") == 0
    assert set(dataset().settings.columns) == {"label", "thumb", "image"}
    assert dataset().read_embeddings()["image"].to_pylist() == image.to_pylist()
    assert extract(*flags, "--manifest-columns", "label,nothing") == 2
    assert "it has no column 'nothing'" in capsys.readouterr().err


def test_a_manifest_without_rows_may_be_allowed(extract, dataset, tmp_path):
    (tmp_path / "m.csv").write_text("uri,label\n")
    assert extract("--manifest", tmp_path / "m.csv", "--allow-empty") == 0
    assert dataset().settings.columns == {"label": "string"}


def test_parquet_mistakes_end_with_2(extract, tmp_path, capsys):
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"uri": [1, 2]}), path)
    assert extract("--manifest", path) == 2
    assert "column 'uri' holds int64, not text" in capsys.readouterr().err
    path.write_bytes(b"PAR1 and then nothing")
    assert extract("--manifest", path) == 2
    assert "cannot read" in capsys.readouterr().err


def test_types_of_a_csv_are_inferred_from_all_of_its_rows(tmp_path):
    path = tmp_path / "m.csv"
    rows = [f"{i}.jpg,{i}" for i in range(200_000)] + ["last.jpg,1.5"]
    path.write_text("\n".join(["uri,score", *rows]))
    source = Manifest((str(path),)).check()
    assert source.columns.field("score").type == pa.float64()
    refs = list(source.read_rows())
    assert (refs[7].columns, refs[-1].columns) == ((7.0,), (1.5,))
    assert Path(refs[-1].uri).name == "last.jpg"


def tables(dataset: Dataset) -> list[pa.Table]:
    return [dataset.read_embeddings(), dataset.read_failures()]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_manifest_columns_ride_along_with_their_types(extract, dataset, photos, tmp_path, kind):
    files = [str(photos / "group0" / f"{i:02d}.jpg") for i in (0, 6, 12)] + ["/nowhere/x.jpg"]
    own = {
        "label": pa.array(["a", 'b,\n"c"', "é", None]),
        "score": pa.array([0.5, -1.25, None, 1e300]),
        "count": pa.array([1, 2**40, None, -3], pa.int64()),
    }
    if kind == "parquet":
        own["at"] = pa.array([1, 2**60 + 1, None, 3], pa.timestamp("ns", "UTC"))
        own["tags"] = pa.array([["x"], [], None, ["y", "z"]])
        own["kind"] = pa.array(["p", "q", "p", None]).dictionary_encode()
        own["small"] = pa.array([1, 2, 3, None], pa.int8())
    manifest = pa.table({"path": files, **own})
    path = tmp_path / f"manifest.{kind}"
    (pa_csv.write_csv if kind == "csv" else pq.write_table)(manifest, str(path))
    flags = ["--manifest", path, "--uri-column", "path", "--max-failure-ratio", "1"]
    assert extract(*flags) == 0
    made = dataset()
    rows = pa.concat_tables([t.select(["uri", *own]) for t in tables(made)]).sort_by("uri")
    in_order = manifest.sort_by("path")
    for name, values in own.items():
        type_ = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
        expected = in_order[name].cast(type_)
        if kind == "csv" and name == "label":
            expected = expected.fill_null("")
        assert rows[name].equals(expected)
