"""Images as bytes in Parquet files."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_containers import HF_IMAGE, make_contents, read_all, read_refs, write_parquet

from beamvec.errors import InputError
from beamvec.transforms.inputs import parquet_files
from beamvec.transforms.inputs.parquet_files import ParquetFiles


@pytest.mark.parametrize("rows_per_group", [1, 5, 300])
@pytest.mark.parametrize("compression", ["snappy", "none", "zstd"])
def test_every_row_is_read_with_its_columns(tmp_path, monkeypatch, rows_per_group, compression):
    monkeypatch.setattr(parquet_files, "RUN_IMAGES", 4)
    names = [f"{i}.jpg" for i in range(50)]
    table = pa.table(
        {
            "label": pa.array([f"l{i % 3}" for i in range(50)]).dictionary_encode(),
            "image": pa.array(
                [{"bytes": bytes([i]) * (i * 1000), "path": n} for i, n in enumerate(names)],
                HF_IMAGE,
            ),
            "width": pa.array(range(50)),
            "boxes": pa.array([[i] for i in range(50)]),
            "mask": pa.array([b"x"] * 50),
            "id": pa.array([f'"{i}"' for i in range(50)], pa.json_()),
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=rows_per_group, compression=compression)
    source = ParquetFiles((str(path),)).check()
    assert source.columns.names == ["label", "source_width", "id", "image_path"]
    refs = list(source.list_images())
    assert [ref.columns for ref in refs] == [
        (f"l{i % 3}", i, f'"{i}"', n) for i, n in enumerate(names)
    ]
    assert [ref.uri for ref in refs] == [f"{path}#{i:010}" for i in range(50)]
    runs = [ref.place.run for ref in refs]
    assert runs == sorted(runs)
    assert max(map(runs.count, runs)) <= 4
    contents, errors = read_all(source, refs[::-3])
    assert not errors
    assert contents == {ref.uri: bytes([i]) * (i * 1000) for i, ref in list(enumerate(refs))[::-3]}
    assert set(map(len, read_all(source, refs[1:], 10)[0].values())) == {10}


def test_columns_of_bytes_are_found_and_named(tmp_path):
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"jpg": [b"a", None], "key": ["k1", "k2"], "exif": [b"", b""]}), path)
    contents, errors = read_all(ParquetFiles((path,)))
    assert contents == {f"{path}#0000000000": b"a"}
    assert "the row holds no bytes" in str(errors[f"{path}#0000000001"])
    assert read_all(ParquetFiles((path,), image_column="exif"))[0][f"{path}#0000000001"] == b""
    pq.write_table(pa.table({"a": [b"a"], "b": [b"b"]}), path)
    for column, told in [
        ("", "no one column holds the images (columns of bytes: a, b); name it with"),
        ("c", "no column 'c', as `image_column` wants it (its columns: a, b)"),
    ]:
        with pytest.raises(InputError, match=re.escape(told)):
            ParquetFiles((path,), image_column=column).check()
    pq.write_table(pa.table({"a": ["text"]}), path)
    with pytest.raises(InputError, match="column 'a' holds string, and no images"):
        ParquetFiles((path,), image_column="a").check()


def test_a_path_without_bytes_is_a_failure(tmp_path):
    images = pa.array([{"bytes": None, "path": "/etc/passwd"}, None], HF_IMAGE)
    pq.write_table(pa.table({"image": images}), tmp_path / "a.parquet")
    _, errors = read_all(ParquetFiles((str(tmp_path),)))
    assert {str(error) for error in errors.values()} == {
        "the row holds no bytes; no path is followed"
    }


def test_a_file_with_other_columns_is_named(tmp_path):
    write_parquet(tmp_path / "a.parquet", make_contents())
    pq.write_table(pa.table({"image": [b"a"], "score": [1.0]}), tmp_path / "b.parquet")
    source = ParquetFiles((str(tmp_path),)).check()
    told = "b.parquet`: its columns are not those of the first file; more or other ones: score: "
    with pytest.raises(InputError, match=re.escape(told)):
        list(source.list_images())


def test_a_large_row_group_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "MAX_GROUP_BYTES", 1000)
    monkeypatch.setattr(parquet_files, "RUN_IMAGES", 4)
    write_parquet(tmp_path / "a.parquet", make_contents())
    with pytest.raises(InputError, match=r"row group 0 holds 5 images of .* small row groups"):
        ParquetFiles((str(tmp_path),)).check()


def test_no_footer_ends_and_a_damaged_page_costs_the_rows_behind_it(tmp_path):
    contents = {f"{i}": bytes([i]) * 3000 for i in range(40)}
    path = write_parquet(tmp_path / "a.parquet", contents, rows_per_group=20)
    whole = path.read_bytes()
    source = ParquetFiles((str(path),)).check()
    refs = list(source.list_images())
    path.write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"a\.parquet` is damaged: "):
        list(source.list_images())
    _, errors = read_refs(source, refs)
    assert len(errors) == 40
    start = whole.index(b"PAR1") + 60  # Inside the first pages of the first row group.
    path.write_bytes(whole[:start] + bytes(200) + whole[start + 200 :])
    found, errors = read_refs(source, list(source.list_images()))
    assert len(found) >= 20
    assert errors
    assert all("row group 0: " in str(error) for error in errors.values())


def test_nothing_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no such file or folder, or nothing in it that ends in"):
        ParquetFiles((str(tmp_path),)).check()
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no images in it, nor in any other that is named"):
        ParquetFiles((str(tmp_path / "*.parquet"),)).check()
