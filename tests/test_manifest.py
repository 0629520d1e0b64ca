"""Manifests that cannot be used, and the types that come through."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.manifest import read_columns, read_manifest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.jpg,1\n", "has no column 'uri'.*its columns: path, label"),
        ("uri,width\na.jpg,1\n", "column 'width' is also a column of the output"),
        ("uri,label,label\na.jpg,1,2\n", "column 'label' comes twice"),
        ("uri,label\na.jpg,1\n,2\n", "row 2 has no 'uri'"),
        ("uri,label\n", "has no rows"),
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
    columns = read_columns(str(path), "uri")
    assert columns.field("score").type == pa.float64()
    refs = list(read_manifest(str(path), "uri", columns))
    assert (refs[7].columns, refs[-1].columns) == ((7.0,), (1.5,))
    assert Path(refs[-1].uri).name == "last.jpg"
