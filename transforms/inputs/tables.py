"""Tables that manifests are: which format a file has, and its rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from beamvec.transforms.files import storage
from beamvec.transforms.inputs.csv_table import UTF_8, CsvTable
from beamvec.transforms.inputs.json_table import JsonTable

_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
}
_PARQUET_MAGIC = b"PAR1"


class Table(Protocol):
    """A file with named columns. What is wrong in it is a `ValueError` or an `OSError`."""

    def find_schema(self) -> pa.Schema:
        """Return its columns and their types."""

    def read(self, columns: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, of these columns."""

    def describe_layout(self) -> str:
        """Say as what it was read."""


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file."""

    path: str

    def find_schema(self) -> pa.Schema:
        """Return its columns and their types, without dictionary encoding.

        That is a matter of storage, and of the writer of each file.
        """
        with storage.open_file(self.path) as file:
            return pa.schema(map(_plain, pq.ParquetFile(file).schema_arrow))

    def read(self, columns: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, of these columns."""
        with storage.open_file(self.path) as file:
            for batch in pq.ParquetFile(file).iter_batches(columns=columns.names):
                arrays = [batch.column(field.name).cast(field.type) for field in columns]
                yield pa.RecordBatch.from_arrays(arrays, schema=columns)

    def describe_layout(self) -> str:
        """Say that there is nothing to choose."""
        return "Parquet"


def open_table(path: str, wanted: tuple[str, ...] = (), encoding: str = UTF_8) -> Table:
    """Return a table, by the extension of its name, or by its content if it has none.

    Args:
        path: where it is; `.gz` and the like after the extension say that it is compressed.
        wanted: columns of which one should be there.
        encoding: of CSV.

    Raises:
        ValueError: if there is no such format.
    """
    format_ = _find_format(path)
    if format_ == "parquet":
        return ParquetTable(path)
    return JsonTable(path) if format_ == "json" else CsvTable(path, wanted, encoding)


def _find_format(path: str) -> str:
    name, extension = os.path.splitext(path.lower())
    if extension == ".gz":
        name, extension = os.path.splitext(name)
    if extension in _FORMATS:
        return _FORMATS[extension]
    if extension:
        *known, last = _FORMATS
        raise ValueError(f"the name must end in {', '.join(known)} or {last}, or these with .gz")
    with storage.open_file(path) as file:
        start = file.read(1024).lstrip(b"\xef\xbb\xbf \r\n\t")
    if start.startswith(_PARQUET_MAGIC):
        return "parquet"
    return "json" if start.startswith(b"{") else "csv"


def _plain(field: pa.Field) -> pa.Field:
    type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.field(field.name, type_)
