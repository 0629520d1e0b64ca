"""Manifests that cannot be used, and the types that come through."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from beamvec.embeddings import Dataset
from beamvec.transforms.inputs.manifest import read_columns, read_manifest


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
