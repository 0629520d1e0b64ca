"""Which format a manifest has."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamvec.transforms.inputs.csv_table import CsvTable
from beamvec.transforms.inputs.json_table import JsonTable
from beamvec.transforms.inputs.tables import ParquetTable, open_table


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", CsvTable),
        ("a.CSV", CsvTable),
        ("a.tsv.gz", CsvTable),
        ("a.tab", CsvTable),
        ("a.jsonl", JsonTable),
        ("a.ndjson.gz", JsonTable),
        ("a.parquet", ParquetTable),
        ("s3://bucket/a.pq", ParquetTable),
    ],
)
def test_the_extension_tells_the_format(name, kind):
    assert isinstance(open_table(name), kind)


@pytest.mark.parametrize("name", ["a.xls", "a.json", "a.csv.zip"])
def test_other_extensions_are_refused(tmp_path, name):
    (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=r"the name must end in \.csv, .* or \.ndjson"):
        open_table(name)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"uri\na.jpg\n", CsvTable),
        (b'\n {"uri": "a.jpg"}\n', JsonTable),
        (b"PAR1", ParquetTable),
    ],
)
def test_without_an_extension_the_content_tells(tmp_path, content, kind):
    (tmp_path / "a").write_bytes(content)
    assert isinstance(open_table(str(tmp_path / "a")), kind)


def test_compressed_rows_are_read(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"uri\na.jpg\n"))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"uri": "a.jpg"}\n'))
    for name in ("a.csv.gz", "a.jsonl.gz"):
        table = open_table(str(tmp_path / name), ("uri",))
        assert [batch.to_pylist() for batch in table.read(table.find_schema())] == [
            [{"uri": "a.jpg"}]
        ]


def test_encodings_of_parquet_do_not_show(tmp_path):
    values = pa.array(["p", "q", "p"])
    pq.write_table(pa.table({"uri": values.dictionary_encode()}), tmp_path / "a.parquet")
    table = ParquetTable(str(tmp_path / "a.parquet"))
    assert table.find_schema() == pa.schema([pa.field("uri", pa.string())])
    assert next(table.read(table.find_schema())).column(0) == values
